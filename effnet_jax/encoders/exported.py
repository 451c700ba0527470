"""Encoders that `effnet-jax export` wrote, read back: as exact as they left."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from effnet_jax.encoders.centring import Centres
from effnet_jax.encoders.encoders import Encoders
from effnet_jax.weights.encoder_weights import encoder_tree
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.load import DOMAINS
from effnet_jax.weights.sources import STORED, read_source

ABOUT = "about.json"
CENTRE = "take_off_the_unit_embedding"  # of a file of weights, in there


def is_exported(path: Path) -> bool:
    """Tell whether a path may be what `effnet-jax export` wrote: a file, or a folder with .safetensors files."""
    return path.is_file() or (path.is_dir() and any(path.glob("*.safetensors")))


def read_exported(path: Path) -> Encoders:
    """Read both encoders, or the one for both domains, with their heads and preprocessing.

    Args:
        path: folder that `effnet-jax export` wrote, or its one file where the encoders are shared.

    Raises:
        WeightsError: a file that is damaged, of another program, or of one domain alone.
    """
    found = {weights.domain: weights for weights in read_source(path).encoders}
    foreign = [weights.where for weights in found.values() if weights.preprocessing_source != STORED]
    if foreign:
        raise WeightsError(
            f"{', '.join(foreign)} was not written by effnet-jax export; give files of weights as "
            "--config.model.weights=FILE."
        )
    if len(found) == 1 and "" not in found:
        raise WeightsError(f"{path} holds the {next(iter(found))} encoder alone; give the folder that holds both.")
    first = next(iter(found.values()))
    about = _about(path)
    if first.config.shared_encoders:  # a file for each domain where only their centres differ
        found = {"": first}
    trees = {name: encoder_tree(found[domain]) for name, domain in DOMAINS.items() if domain in found}
    return Encoders(
        first.config,
        first.preprocessing,
        params={name: params for name, (params, _) in trees.items()},
        origin={name: about[name] for name in ("run", "step", "selection", "data") if name in about},
        batch_stats={name: stats for name, (_, stats) in trees.items() if any(stats.values())},
        centres=_centres(about),
    )


def _about(path: Path) -> dict[str, Any]:
    """What the export said; nothing where that is gone."""
    try:
        about = json.loads(((path.parent if path.is_file() else path) / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def _centres(about: dict[str, Any]) -> Centres:
    """The means that are to be taken off, which a file of weights has no place for."""
    files = about.get("files", {})
    means = {domain: files.get(f"{domain}.safetensors", {}).get(CENTRE) for domain in ("sketch", "photo")}
    return {domain: np.asarray(mean, np.float32) for domain, mean in means.items() if mean is not None}
