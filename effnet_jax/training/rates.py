"""Learning rates by place: lower in earlier layers, zero where parameters are frozen."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import optax

from effnet_jax.config import ConfigError
from effnet_jax.models.trees import flatten, nest

HEAD = "model."  # before the names of a run's parameters that a file of weights does not have


def rate_factors(params: Mapping[str, Any], layer_decay: float, freeze: Sequence[str] = ()) -> dict[str, Any]:
    """Give the factor of the learning rate for each parameter.

    The head and what stands behind the blocks of a ViT learn at the full rate, the last block at `layer_decay` times
    it, the one before at its square, and so on down to the patches and positions.

    Args:
        params: of a run, or of an encoder.
        layer_decay: in (0, 1]; 1: no decay. Below 1 only for a ViT.
        freeze: patterns of names, such as `encoder.backbone.patch_embed.*` or `*.blocks.[0-5].*`, whose factor is 0.

    Raises:
        ConfigError: a pattern that no name fits, with the names that there are.

    Source: layer-wise decay as in BEiT (arXiv 2106.08254); ours by name.

    Example:
        >>> params = {"encoder": {"backbone": {"pos_embed": 1, "blocks": {0: {"w": 1}, 1: {"w": 1}}}, "head": {"w": 1}}}
        >>> rate_factors(params, 0.5, ["*.pos_embed"])["encoder"]
        {'backbone': {'pos_embed': 0.0, 'blocks': {0: {'w': 0.25}, 1: {'w': 0.5}}}, 'head': {'w': 1.0}}
    """
    paths = list(flatten(params))
    names = {path: ".".join(map(str, path)).removeprefix(HEAD) for path in paths}
    unknown = [pattern for pattern in freeze if not fnmatch.filter(names.values(), pattern)]
    if unknown:
        listed = ", ".join(sorted(names.values())[:8])
        raise ConfigError(f"optim.freeze: no parameter is named like {', '.join(unknown)}; there are {listed}, ...")
    frozen = {path for path in paths if any(fnmatch.fnmatchcase(names[path], pattern) for pattern in freeze)}
    places = [path[path.index("blocks") + 1] for path in paths if "blocks" in path]
    blocks = max((place + 1 for place in places if isinstance(place, int)), default=0)
    return nest({path: 0.0 if path in frozen else layer_decay ** _below(path, blocks) for path in paths})


def scale_by_place(layer_decay: float, freeze: Sequence[str] = ()) -> optax.GradientTransformation:
    """Multiply updates by `rate_factors`."""

    def update(updates: Any, params: Any) -> Any:
        del params
        return jax.tree.map(lambda factor, x: factor * x, rate_factors(updates, layer_decay, freeze), updates)

    return optax.stateless(update)


def _below(path: tuple[str | int, ...], blocks: int) -> int:
    """Count the layers between a parameter and the head."""
    place = path[path.index("blocks") + 1] if "blocks" in path else None
    if isinstance(place, int):
        return blocks - place
    early = "backbone" in path and path[path.index("backbone") + 1] != "norm"
    return blocks + 1 if early else 0
