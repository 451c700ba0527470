"""Recognise whose tensors a file holds, and of which architecture, by their names and shapes."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from effnet_jax.config import ModelConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.models.builders import BACKBONES
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.names import Table
from effnet_jax.weights.names_cnn import torchvision_inception, torchvision_resnet, torchvision_vgg16
from effnet_jax.weights.names_swin import timm_convnext, timm_swin
from effnet_jax.weights.names_vit import augreg_vit, huggingface_vit, timm_conv_stem, timm_vit

Depths = tuple[int, ...]
MAX_BLOCKS = 200
HALF, IMAGENET = ((0.5,) * 3, (0.5,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HEADS = ("mlp_head.0", "output_layer", "linear_out.0")  # of the authors' encoders: the embedding


class Naming(NamedTuple):
    """How one library names the tensors of one architecture.

    Attributes:
        source: whose names they are.
        family: vit, swin, convnext, vgg, resnet or inception.
        mark: a tensor that only this architecture has; what stands before it is a prefix.
        table: names and blocks a stage -> table.
        blocks: pattern whose groups are the numbers of a stage (where there are stages) and of a block.
        ignored: pattern of names that are not needed: classifiers, counters and buffers.
        classifier: name of the classifier; our own files keep the embedding head there.
        scaling: mean and std that the usual weights were trained with.
        image_size: their image size, pixels; 0: follows from the position embeddings.
        resample: filter of their resize.
    """

    source: str
    family: str
    mark: str
    table: Callable[[Iterable[str], Depths], Table]
    blocks: str
    ignored: str
    classifier: str
    scaling: tuple[tuple[float, ...], tuple[float, ...]]
    image_size: int
    resample: str = "bicubic"


def _timm_vit(names: Iterable[str], depths: Depths) -> Table:
    stem = len({name for name in names if re.fullmatch(r"stem\.\d+\.conv\.weight", name)})
    table = timm_vit(depths[0])
    if stem:
        table = {name: target for name, target in table.items() if not name.startswith("patch_embed.")}
        table |= timm_conv_stem(stem)
    return table


def _timm_swin(names: Iterable[str], depths: Depths) -> Table:
    return timm_swin(depths, old="layers.0.downsample.norm.weight" in names)


def _resnet(names: Iterable[str], depths: Depths) -> Table:
    return torchvision_resnet(depths, bottleneck="layer1.0.conv3.weight" in names)


def _authors_vgg16(names: Iterable[str], depths: Depths) -> Table:
    return {f"backbone.{name.removeprefix('features.')}": target for name, target in torchvision_vgg16().items()}


_COUNTERS = r".*\.num_batches_tracked"
NAMINGS = (
    Naming("timm", "vit", "blocks.0.attn.qkv.weight", _timm_vit, r"blocks\.(\d+)\.",
           r"head(_dist)?\.(weight|bias)", "head", HALF, 0),
    Naming("Hugging Face", "vit", "encoder.layer.0.attention.attention.query.weight",
           lambda names, depths: huggingface_vit(depths[0]), r"encoder\.layer\.(\d+)\.",
           r"(pooler\.dense|classifier)\.(weight|bias)", "classifier", HALF, 0, "bilinear"),
    Naming("AugReg (Google)", "vit", "Transformer/encoderblock_0/LayerNorm_0/scale",
           lambda names, depths: augreg_vit(depths[0]), r"Transformer/encoderblock_(\d+)/",
           r"(head|pre_logits)/(kernel|bias)", "head", HALF, 0),
    Naming("timm", "swin", "layers.0.blocks.0.attn.relative_position_bias_table", _timm_swin,
           r"layers\.(\d+)\.blocks\.(\d+)\.", r"head\.(fc\.)?(weight|bias)|.*\.(relative_position_index|attn_mask)",
           "head.fc", IMAGENET, 224),
    Naming("timm", "convnext", "stages.0.blocks.0.conv_dw.weight", lambda names, depths: timm_convnext(depths),
           r"stages\.(\d+)\.blocks\.(\d+)\.", r"head\.fc\.(weight|bias)", "head.fc", IMAGENET, 224),
    Naming("torchvision, timm", "vgg", "features.28.weight", lambda names, depths: torchvision_vgg16(), "",
           r"(classifier|pre_logits|head)\..*", "head.fc", IMAGENET, 224, "bilinear"),
    Naming("EffNet's authors", "vgg", "backbone.28.weight", _authors_vgg16, "", "(?!)", "", IMAGENET, 224, "bilinear"),
    Naming("torchvision, timm", "resnet", "layer1.0.conv1.weight", _resnet, r"layer(\d+)\.(\d+)\.",
           rf"fc\.(weight|bias)|{_COUNTERS}", "fc", IMAGENET, 224, "bilinear"),
    Naming("torchvision, timm", "inception", "Mixed_5b.branch1x1.conv.weight",
           lambda names, depths: torchvision_inception(), "", rf"fc\.(weight|bias)|AuxLogits\..*|{_COUNTERS}",
           "fc", HALF, 299),
)  # fmt: skip


class Recognised(NamedTuple):
    """One backbone in a file.

    Attributes:
        naming: whose names.
        tensors: of the backbone, without the prefix that the file puts before them.
        head: weight (z, f) and bias (z,) of the embedding head, where there is one.
        depths: blocks, or blocks of each stage.
        source: sentence about it.
    """

    naming: Naming
    tensors: dict[str, np.ndarray]
    head: tuple[np.ndarray, np.ndarray] | None
    depths: Depths
    source: str

    def table(self, depths: Sequence[int] | None = None) -> Table:
        """Give the table for these blocks a stage; None: as many as the file has."""
        return self.naming.table(self.tensors.keys(), tuple(depths) if depths else self.depths)

    def ignored(self, name: str) -> bool:
        """Tell whether a tensor is not needed."""
        return re.fullmatch(self.naming.ignored, name) is not None


def recognise(tensors: Mapping[str, np.ndarray], where: str, *, own_head: bool = False) -> Recognised:
    """Find out whose tensors these are.

    Args:
        tensors: by name, of one model.
        where: file, for messages.
        own_head: the classifier of these tensors is our embedding head, as the file says.

    Raises:
        WeightsError: no architecture that we know.
    """
    for naming in NAMINGS:
        prefixes = [name.removesuffix(naming.mark) for name in tensors if name.endswith(naming.mark)]
        prefixes = [p for p in prefixes if not p or p.endswith(".")]
        if len(prefixes) != 1:
            continue
        prefix = prefixes[0]
        outer = prefix.removesuffix("encoder.").removesuffix("features.").removesuffix("backbone.")
        head = _head(tensors, [outer + name for name in HEADS])
        heads = {outer + f"{name}.{part}" for name in HEADS for part in ("weight", "bias")} if head else set()
        inner = {name.removeprefix(prefix): x for name, x in tensors.items() if name not in heads}
        if own_head and head is None:
            head = _head(inner, [naming.classifier])
        depths = _depths(inner, naming.blocks)
        return Recognised(naming, inner, head, depths, f"{naming.source}'s names of a {naming.family} backbone")
    shown = ", ".join(sorted(tensors)[:6])
    raise WeightsError(
        f"{where} holds tensors of no architecture that is known here ({len(tensors)} names: {shown}, ...). Known are "
        + "; ".join(f"{n.source}: {n.family} (has {n.mark})" for n in NAMINGS)
    )


def architecture(found: Recognised, where: str) -> dict[str, Any]:
    """Tell the fields of ModelConfig that describe the backbone, from the shapes alone.

    Raises:
        WeightsError: sizes that no backbone here can have.
    """
    family, x, depths = found.naming.family, found.tensors, found.depths
    if sum(depths) > MAX_BLOCKS:
        raise WeightsError(f"{where} has {sum(depths)} blocks, more than {MAX_BLOCKS}; it is not read.")
    try:
        if family == "vit":
            return _vit_architecture(found)
        if family == "resnet":
            bottleneck, width = "layer1.0.conv3.weight" in x, int(x["conv1.weight"].shape[0])
            base = {True: "resnet50", False: "resnet18"}[bottleneck]
            kinds = {"resnet50": (3, 4, 6, 3), "resnet18": (2, 2, 2, 2)}
            return {"backbone": base, **_sizes(base, width, depths, kinds)}
        if family in ("swin", "convnext"):
            width = int(x["patch_embed.proj.weight" if family == "swin" else "stem.0.weight"].shape[0])
            return {"image_size": found.naming.image_size, **_staged(family, width, depths, x)}
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(f"{where} lacks tensors that tell the size of its {family} backbone: {error}") from error
    except _NoPreset as error:
        raise WeightsError(f"{where} is a {family} backbone that is not built here: {error}") from error
    base = "vgg16" if family == "vgg" else "inception_v3"
    width = 0
    if family == "vgg":
        width = int(next(v for k, v in x.items() if k.endswith((".0.weight", "features.0.weight"))).shape[0])
    return {"backbone": base, "image_size": found.naming.image_size} | (
        {"width": width} if width not in (0, 64) else {}
    )


class _NoPreset(Exception):
    """Sizes that cannot be configured."""


def _vit_architecture(found: Recognised) -> dict[str, Any]:
    table, x, depth = found.table(), found.tensors, found.depths[0]
    by_path = {target.path: name for name, target in table.items()}
    width = int(x[by_path["cls_token",]].shape[-1])
    fields: dict[str, Any] = {}
    grid = round((x[by_path["pos_embed",]].shape[1] - 1) ** 0.5)
    kernel = by_path.get(("patch_embed", "kernel"))
    if kernel is None:
        patch = 2 ** sum(path[:2] == ("patch_embed", "convolutions") for path in by_path)
        fields["stem"] = "conv"
    else:
        patch = int(x[kernel].shape[0 if table[kernel].layout == "rows" else -1])
    for name, preset in BACKBONES.items():
        if name.startswith("vit") and preset.width == width and preset.build.keywords["depth"] == depth:  # pyrefly: ignore
            return {"backbone": name, "patch_size": patch, "image_size": grid * patch, **fields}
    fields |= {"width": width, "depth": depth, "heads": max(1, width // 64)}
    return {"backbone": "vit_tiny", "patch_size": patch, "image_size": grid * patch, **fields}


def _staged(family: str, width: int, depths: Depths, x: Mapping[str, np.ndarray]) -> dict[str, Any]:
    presets = {name: p for name, p in BACKBONES.items() if name.startswith(family)}
    kinds = {name: p.build.keywords["depths"] for name, p in presets.items()}  # pyrefly: ignore
    fitting = [name for name, p in presets.items() if (p.width, kinds[name]) == (width, depths)]
    base = fitting[0] if fitting else f"{family}_tiny"
    fields = {"backbone": base, **_sizes(base, width, depths, kinds)}
    if family == "swin":
        rows, heads = x["layers.0.blocks.0.attn.relative_position_bias_table"].shape
        if rows != 13**2:
            raise _NoPreset(f"its windows have {(round(rows**0.5) + 1) // 2} cells a side, 7 are built")
        if heads != presets[base].heads:
            fields["heads"] = int(heads)
    return fields


def _sizes(base: str, width: int, depths: Depths, kinds: Mapping[str, Depths]) -> dict[str, int]:
    fields = {"width": width} if width != BACKBONES[base].width else {}
    if depths != tuple(kinds[base]):
        if len(set(depths)) > 1 or len(depths) != 4:
            raise _NoPreset(f"it has {depths} blocks a stage; built are {sorted(set(kinds.values()))} or all alike")
        fields["depth"] = depths[0]
    return fields


def _depths(names: Iterable[str], pattern: str) -> Depths:
    """Count the blocks, or the blocks of each stage; numbers are only compared, a file may claim any."""
    blocks: dict[str, set[str]] = {}
    for name in names if pattern else ():
        if found := re.match(pattern, name):
            *stage, block = found.groups()
            blocks.setdefault(stage[0] if stage else "", set()).add(block)
    return tuple(len(blocks[stage]) for stage in sorted(blocks))


def _head(tensors: Mapping[str, np.ndarray], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    for name in names:
        if f"{name}.weight" in tensors and f"{name}.bias" in tensors:
            return tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    return None


def config_of(fields: Mapping[str, Any]) -> ModelConfig:
    """Make the configuration of an encoder from what `architecture` found, or from what a file of ours says.

    Raises:
        ConfigError: fields that do not exist, of a wrong type, or that cannot be built.
    """
    return from_mapping({"model": {**fields, "weights": "none"}}).model
