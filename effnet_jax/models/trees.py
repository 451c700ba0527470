"""Shapes of our parameter trees."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from effnet_jax.config import ModelConfig
from effnet_jax.models.effnet import make_encoder

Tree = dict[str, Any]


def shapes_of(config: ModelConfig) -> tuple[Tree, Tree]:
    """Give the shapes of one encoder's parameters and batch statistics, without allocating them."""
    encoder = nnx.eval_shape(lambda: make_encoder(config, rngs=nnx.Rngs(params=jax.random.key(0))))
    return nnx.to_pure_dict(nnx.state(encoder, nnx.Param)), nnx.to_pure_dict(nnx.state(encoder, nnx.BatchStat))


def depths_of(backbone: Mapping[str, Any]) -> tuple[int, ...]:
    """Count the blocks, or the blocks of each stage, in the parameters of one of our backbones."""
    stages = backbone.get("stages") or {0: backbone.get("blocks", {})}
    return tuple(len(stage) for stage in stages.values())


def count(tree: Any) -> int:
    """Count the numbers in a tree."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
