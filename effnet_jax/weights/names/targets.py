"""How a tensor of another library becomes one of ours: where it goes, and how its layout changes on the way."""

import math
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float

from effnet_jax.models.trees import Path


class Target(NamedTuple):
    """Where a tensor goes.

    Attributes:
        path: in the nested dict of one backbone's parameters (or statistics).
        layout: how the axes change, a key of `LAYOUTS`.
        part: which third of a fused tensor it is, along our last axis; None: all of it.
        statistic: it belongs to the batch statistics, not to the parameters.
    """

    path: Path
    layout: str = "same"
    part: int | None = None
    statistic: bool = False


Table = dict[str, Target]

LAYOUTS = {  # name: (number of axes, or None for any; theirs -> ours)
    "same": (None, lambda x: x),
    "linear": (2, lambda x: x.T),
    "conv": (4, lambda x: rearrange(x, "o i h w -> h w i o")),
    "depthwise": (4, lambda x: rearrange(x, "d 1 h w -> h w d")),
    "patches": (4, lambda x: rearrange(x, "d c p q -> (p q c) d")),
    "pairs": (4, lambda x: rearrange(x, "d c p q -> (p q c) d")),  # patches of 2x2
    "positions": (3, lambda x: x),  # interpolated where the grid differs
    "rows": (None, lambda x: x.reshape(-1, x.shape[-1])),  # flax: all axes but the last are inputs
    "columns": (None, lambda x: x.reshape(x.shape[0], -1)),  # flax: all axes but the first are outputs
    "flat": (None, lambda x: x.reshape(-1)),
}
BACK = {  # ours -> theirs, for the layouts that are written
    "same": lambda x: x,
    "linear": lambda x: x.T,
    "conv": lambda x: rearrange(x, "h w i o -> o i h w"),
    "depthwise": lambda x: rearrange(x, "h w d -> d 1 h w"),
    "patches": lambda x: rearrange(x, "(p q c) d -> d c p q", c=3, p=math.isqrt(x.shape[0] // 3)),
    "pairs": lambda x: rearrange(x, "(p q c) d -> d c p q", p=2, q=2),
    "positions": lambda x: x,
}


def to_ours(tensor: Float[np.ndarray, "..."], layout: str) -> Float[np.ndarray, "..."]:
    """Change a tensor from its source layout to ours, as float32."""
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as not finite
        return np.ascontiguousarray(LAYOUTS[layout][1](tensor), dtype=np.float32)


def to_theirs(tensor: Float[np.ndarray, "..."], layout: str) -> Float[np.ndarray, "..."]:
    """Change a tensor of ours to the layout of its source; undoes `to_ours` exactly."""
    return np.ascontiguousarray(BACK[layout](np.asarray(tensor)))


def below(place: str, table: Table) -> Table:
    """Put what a table maps to below a place in a larger tree."""
    return {name: target._replace(path=(place, *target.path)) for name, target in table.items()}


def norm(name: str, path: Path) -> Table:
    """Map a layer norm of torch."""
    return {f"{name}.weight": Target((*path, "scale")), f"{name}.bias": Target((*path, "bias"))}


def batch_norm(name: str, path: Path) -> Table:
    """Map a batch norm of torch, with its running statistics."""
    return {
        **norm(name, path),
        f"{name}.running_mean": Target((*path, "mean"), statistic=True),
        f"{name}.running_var": Target((*path, "var"), statistic=True),
    }


def linear(name: str, path: Path, layout: str = "linear", *, bias: bool = True) -> Table:
    """Map a linear layer or a convolution of torch."""
    table = {f"{name}.weight": Target((*path, "kernel"), layout)}
    return {**table, f"{name}.bias": Target((*path, "bias"))} if bias else table


def timm_block(name: str, path: Path) -> Table:
    """Map what the blocks of timm's ViT and Swin share: attention and MLP, each behind its layer norm."""
    table = norm(f"{name}.norm1", (*path, "norm1")) | norm(f"{name}.norm2", (*path, "norm2"))
    for group, layer in (("attn", "qkv"), ("attn", "proj"), ("mlp", "fc1"), ("mlp", "fc2")):
        table |= linear(f"{name}.{group}.{layer}", (*path, group, layer))
    return table
