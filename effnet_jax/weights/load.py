"""Pretrained backbones: find the file, check it whole, and lay it into our parameters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.config import ModelConfig
from effnet_jax.models.vit import PRESETS, resize_position_embeddings
from effnet_jax.weights.names import TIMM_IGNORED, nest, timm_vit, to_ours

Params = dict[str, Any]
HUB_PREFIX = "timm/"


class WeightsError(ValueError):
    """Weights that cannot be had or do not fit; the message names the file and every tensor."""


def load_backbone(config: ModelConfig, like: Params) -> Params:
    """Load the pretrained backbone that `config.weights` names, in our layout.

    Args:
        config: architecture and the name of the weights; not "none".
        like: parameters (or their shapes) of one backbone, to check against.

    Returns:
        Nested dict of float32 NumPy arrays with the structure of `like`; position embeddings interpolated where the
        grid of patches differs.

    Raises:
        WeightsError: no such file, no network, or missing, unexpected and misshapen tensors (all of them at once).
    """
    path = find_weights(config.weights)
    return convert_timm_vit(read_safetensors(path), config, like, source=str(path))


def find_weights(name: str) -> Path:
    """Give the local path of a .safetensors file or of `timm/NAME.TAG` on the Hugging Face hub.

    Raises:
        WeightsError: with where to get the file and where to put it.
    """
    path = Path(name).expanduser()
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise WeightsError(f"model.weights: there is no file {path.absolute()}; {_ways_out(None)}")
        return path
    if not name.startswith(HUB_PREFIX):
        raise WeightsError(f"model.weights={name!r} is neither a .safetensors path nor timm/NAME.TAG nor none.")
    try:
        from huggingface_hub import hf_hub_download

        return Path(hf_hub_download(name, "model.safetensors"))
    except Exception as error:  # the hub raises many kinds: offline, proxy, missing repository, no package
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise WeightsError(f"model.weights={name!r} could not be fetched ({reason}); {_ways_out(name)}") from error


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Read all tensors of a .safetensors file.

    Raises:
        WeightsError: not a readable safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a readable .safetensors file: {error}") from error


def convert_timm_vit(tensors: Mapping[str, np.ndarray], config: ModelConfig, like: Params, *, source: str) -> Params:
    """Lay timm's ViT tensors into our parameters, refusing anything that does not fit.

    Raises:
        WeightsError: missing, unexpected and misshapen tensors, all in one message.
    """
    depth = config.depth or PRESETS[config.backbone][1]
    table = timm_vit(depth)
    shapes = {tuple(_key(k) for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(like)}
    problems = [f"missing: {name}" for name in table if name not in tensors]
    problems += [f"unexpected: {name}" for name in tensors if name not in table and name not in TIMM_IGNORED]
    flat = {}
    for name, target in table.items():
        if name not in tensors:
            continue
        tensor = tensors[name]
        if tensor.ndim != (4 if target.layout == "patches" else 2 if target.layout == "linear" else tensor.ndim):
            problems.append(f"misshapen: {name} has {tensor.ndim} dimensions {tensor.shape}")
            continue
        value = to_ours(tensor, target.layout)
        if name == "pos_embed" and value.ndim == 3 and value.shape[1] > 1:
            value = np.asarray(resize_position_embeddings(jnp.asarray(value), config.image_size, config.patch_size))
        if value.shape != shapes[target.path]:
            problems.append(f"misshapen: {name} is {tensor.shape}, the model needs {shapes[target.path]} in our layout")
        if not np.isfinite(value).all():
            problems.append(f"not finite: {name}")
        flat[target.path] = value
    if problems:
        raise WeightsError(
            f"{source} does not fit model.backbone={config.backbone} (image_size={config.image_size}, "
            f"patch_size={config.patch_size}):\n" + "\n".join(f"  {p}" for p in problems)
        )
    return nest(flat)


def _key(entry: Any) -> str | int:
    return entry.key


def _ways_out(name: str | None) -> str:
    page = f"https://huggingface.co/{name}" if name else "https://huggingface.co/timm (any vit_*_patch16_224)"
    return (
        f"download model.safetensors from {page} on a machine with a network, put it anywhere, and give its path with "
        "--config.model.weights=/path/model.safetensors; or train from random numbers with --config.model.weights=none."
    )
