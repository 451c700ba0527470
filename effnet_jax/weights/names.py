"""Tables from other libraries' tensor names and layouts to ours."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float


class Target(NamedTuple):
    """Where a tensor goes: a path in our nested dict, and how its layout changes on the way."""

    path: tuple[str | int, ...]
    layout: str  # "same", "linear": (out, in) -> (in, out), "patches": (d, c, p, q) -> (p q c, d)


# timm's classifier is never used by EffNet
TIMM_IGNORED = ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias")


def timm_vit(depth: int) -> dict[str, Target]:
    """Map the tensors of timm's `vit_*` with `depth` blocks to the parameters of our ViT."""
    table = {
        "cls_token": Target(("cls_token",), "same"),
        "pos_embed": Target(("pos_embed",), "same"),
        "patch_embed.proj.weight": Target(("patch_embed", "kernel"), "patches"),
        "patch_embed.proj.bias": Target(("patch_embed", "bias"), "same"),
        **_norm("norm", ("norm",)),
    }
    for i in range(depth):
        for norm in ("norm1", "norm2"):
            table |= _norm(f"blocks.{i}.{norm}", ("blocks", i, norm))
        for group, name in (("attn", "qkv"), ("attn", "proj"), ("mlp", "fc1"), ("mlp", "fc2")):
            table |= _linear(f"blocks.{i}.{group}.{name}", ("blocks", i, group, name))
    return table


def to_ours(tensor: Float[np.ndarray, "..."], layout: str) -> Float[np.ndarray, "..."]:
    """Change a tensor from its source layout to ours, as float32."""
    if layout == "linear":
        tensor = tensor.T
    elif layout == "patches":
        tensor = rearrange(tensor, "d c p q -> (p q c) d")
    return np.ascontiguousarray(tensor, dtype=np.float32)


def nest(flat: Mapping[tuple[str | int, ...], np.ndarray]) -> dict:
    """Turn paths into a nested dict."""
    tree: dict = {}
    for path, value in flat.items():
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value
    return tree


def _norm(name: str, path: tuple[str | int, ...]) -> dict[str, Target]:
    return {f"{name}.weight": Target((*path, "scale"), "same"), f"{name}.bias": Target((*path, "bias"), "same")}


def _linear(name: str, path: tuple[str | int, ...]) -> dict[str, Target]:
    return {f"{name}.weight": Target((*path, "kernel"), "linear"), f"{name}.bias": Target((*path, "bias"), "same")}
