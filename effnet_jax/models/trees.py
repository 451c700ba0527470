"""Our parameter trees: nested dicts, the same as paths, and their shapes."""

import math
from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from effnet_jax.config import ModelConfig
from effnet_jax.models.effnet import make_encoder

Tree = dict[str, Any]
Path = tuple[str | int, ...]


def shapes_of(config: ModelConfig) -> tuple[Tree, Tree]:
    """Give the shapes of one encoder's parameters and batch statistics, without allocating them.

    Example:
        >>> params, batch_stats = shapes_of(ModelConfig(width=8, depth=1, heads=2, image_size=32, embedding_size=4))
        >>> params["head"]["kernel"].shape, batch_stats
        ((8, 4), {})
    """
    encoder = nnx.eval_shape(lambda: make_encoder(config, rngs=nnx.Rngs(params=jax.random.key(0))))
    return nnx.to_pure_dict(nnx.state(encoder, nnx.Param)), nnx.to_pure_dict(nnx.state(encoder, nnx.BatchStat))


def depths_of(backbone: Mapping[str, Any]) -> tuple[int, ...]:
    """Count the blocks, or the blocks of each stage, in the parameters of one of our backbones.

    Example:
        >>> depths_of(shapes_of(ModelConfig(backbone="resnet18", image_size=32))[0]["backbone"])
        (2, 2, 2, 2)
    """
    stages = backbone.get("stages") or {0: backbone.get("blocks", {})}
    return tuple(len(stage) for stage in stages.values())


def nest(flat: Mapping[Path, Any]) -> dict:
    """Turn paths into a nested dict.

    Example:
        >>> nest({("blocks", 0, "scale"): 1, ("head",): 2})
        {'blocks': {0: {'scale': 1}}, 'head': 2}
    """
    tree: dict = {}
    for path, value in flat.items():
        node = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = value
    return tree


def flatten(tree: Mapping[Any, Any]) -> dict[Path, Any]:
    """Turn a nested dict into paths; undoes `nest`, but for dicts without anything in them, which vanish.

    Example:
        >>> flatten({"blocks": {0: {"scale": 1}}, "head": 2})
        {('blocks', 0, 'scale'): 1, ('head',): 2}
    """
    flat: dict[Path, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {(key, *path): leaf for path, leaf in flatten(value).items()}
        else:
            flat[key,] = value
    return flat


def count(tree: Any) -> int:
    """Count the numbers in a tree.

    Example:
        >>> import numpy as np
        >>> count({"kernel": np.zeros((3, 4)), "bias": np.zeros(4)})
        16
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
