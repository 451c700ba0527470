"""Write encoders to .safetensors files in timm's names, which timm and our own `load_encoder` read."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from effnet_jax.config import ModelConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.presets import BACKBONES
from effnet_jax.models.trees import Tree, depths_of, flatten
from effnet_jax.storage.files import replacing
from effnet_jax.weights.encoder_weights import RECYCLING, recycling_table
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.names.targets import Table, below, linear, to_theirs
from effnet_jax.weights.recognise import NAMINGS, Variant
from effnet_jax.weights.sources import OWN


def timm_tensors(config: ModelConfig, params: Tree, batch_stats: Tree) -> dict[str, np.ndarray]:
    """Lay an encoder out as timm's state_dict; the embedding head stands where timm has the classifier.

    So `timm.create_model(name, num_classes=embedding_size)` computes the embedding, with `global_pool="max"` for ResNet
    and Inception. A ViT's convolutional stem, token recycling, a head on all tokens and VGG16's head do not exist in
    timm.

    Args:
        config: architecture.
        params: `backbone` and, where there is one, `head` and `recycling` of one encoder.
        batch_stats: `backbone`, where there are statistics.

    Returns:
        float32 arrays; reading them back gives the very same bits.

    Raises:
        WeightsError: parameters of a part that is not known here.
    """
    if unknown := [name for name in params if name not in ("backbone", "head", RECYCLING)]:
        raise WeightsError(f"the parameters of {', '.join(unknown)} cannot be written; nothing is.")
    backbone, classifier = timm_table(config, params["backbone"])
    table = below("backbone", backbone) | (linear(classifier, ("head",)) if "head" in params else {})
    table |= recycling_table(params.get(RECYCLING, {}))
    leaves = {False: flatten(params), True: flatten(batch_stats)}
    return {name: to_theirs(leaves[t.statistic][t.path], t.layout) for name, t in table.items()}


def portable(config: ModelConfig) -> ModelConfig:
    """Change what depends on the device that trained, and no value: which attention, and what is recomputed."""
    attention = "merged" if "attention" in BACKBONES[config.backbone].adjustable else config.attention
    return dataclasses.replace(config, weights="none", attention=attention, remat=False)


def timm_table(config: ModelConfig, backbone: Tree) -> tuple[Table, str]:
    """Give timm's table of a backbone, and the name of timm's classifier."""
    preset = BACKBONES[config.backbone]
    naming = next(naming for naming in NAMINGS if (naming.kind, naming.family) == ("timm", preset.family))
    stem = len(backbone.get("patch_embed", {}).get("convolutions", ()))
    return naming.table(depths_of(backbone), Variant(stem, bottleneck=preset.bottleneck)), naming.classifier


def save_encoder(
    path: Path,
    config: ModelConfig,
    params: Tree,
    batch_stats: Tree,
    preprocessing: Preprocessing,
    *,
    domain: str = "",
) -> None:
    """Write one encoder with its preprocessing, whole or not at all.

    Args:
        path: a .safetensors file.
        config: architecture.
        params: `backbone` and, where there is one, `head` and `recycling`.
        batch_stats: `backbone`, where there are statistics.
        preprocessing: what its images must go through; written into the file's metadata.
        domain: "sketch", "photo", or "" for both.

    Raises:
        WeightsError: parameters of a part that is not known here.
    """
    from safetensors.numpy import save

    about = {
        "model": dataclasses.asdict(portable(config)),
        "preprocessing": preprocessing.to_dict(),
        "domain": domain,
        "head": "head" in params,
    }
    with replacing(path) as temporary:
        tensors = timm_tensors(config, params, batch_stats)
        # One entry only: the library writes several in no fixed order, and the same encoder should be the same bytes.
        temporary.write_bytes(save(tensors, metadata={OWN: json.dumps(about)}))
