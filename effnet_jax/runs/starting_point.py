"""Where a run starts: the trained encoders that `init_from` names, whether they fit, and what is written down of it."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from effnet_jax.config import Config, ConfigError
from effnet_jax.data.split import Split
from effnet_jax.encoders.encoders import Encoders
from effnet_jax.encoders.exported import is_exported, read_exported
from effnet_jax.models.presets import BACKBONES
from effnet_jax.models.vit import resize_position_embeddings
from effnet_jax.presentation.listed import listed
from effnet_jax.runs.folder import Run, short_hash, trained_encoders
from effnet_jax.runs.start import Start

# How encoders compute and how they were made may differ; what they are may not.
FREE = ("weights", "dtype", "precision", "attention", "remat", "drop_path")
SEEN = {"test": ("train", "unpaired", "validation"), "validation": ("train", "unpaired")}  # validation chose the epoch


def starting_encoders(init_from: str) -> Encoders:
    """Read trained encoders.

    Args:
        init_from: folder of a run, of which the best checkpoint on validation is taken, or the last where nothing was
            held out; one of its checkpoints, such as `run/checkpoints/304`; or what `effnet-jax export` wrote.

    Raises:
        ConfigError: there are none, or they are damaged.
    """
    path = Path(init_from).expanduser()
    try:
        return read_exported(path) if is_exported(path) else trained_encoders(path)
    except ValueError as error:
        raise ConfigError(f"init_from={init_from}: {error}") from error


def misfits(encoders: Encoders, config: Config) -> list[str]:
    """List in what trained encoders differ from a configuration, with the flags that would make them fit."""
    theirs = {"model": dataclasses.asdict(encoders.config), "data": dataclasses.asdict(encoders.preprocessing)}
    ours = {section: dataclasses.asdict(getattr(config, section)) for section in theirs}
    names = [("model", name) for name in ours["model"] if name not in FREE]
    names += [("data", name) for name in ("mean", "std", "resample")]
    return [
        f"{section}.{name}: {there!r} there, {here!r} here (--config.{section}.{name}={_flag(there)})"
        for section, name in names
        if (there := theirs[section][name]) != (here := ours[section][name])
    ]


def refuse_misfits(encoders: Encoders, config: Config) -> None:
    """Refuse trained encoders that are others than the configuration asks for.

    Raises:
        ConfigError: with every difference.
    """
    if problems := misfits(encoders, config):
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigError(f"init_from={config.init_from} does not fit this configuration:\n{lines}")


def with_image_size(encoders: Encoders, size: int) -> Encoders:
    """Give ViTs another image size, by interpolating their positions; other encoders as they are."""
    config = encoders.config
    bound = config.pooling == "all" or config.token_recycling  # these have weights for each place of the grid
    if config.image_size == size or bound or BACKBONES[config.backbone].family != "vit":
        return encoders
    params = {}
    for name, tree in encoders.params.items():
        positions = jnp.asarray(tree["backbone"]["pos_embed"])
        resized = np.asarray(resize_position_embeddings(positions, size, config.patch_size))
        params[name] = {**tree, "backbone": {**tree["backbone"], "pos_embed": resized}}
    return dataclasses.replace(
        encoders,
        config=dataclasses.replace(config, image_size=size),
        preprocessing=dataclasses.replace(encoders.preprocessing, image_size=size),
        params=params,
        origin={**encoders.origin, "interpolated_from": config.image_size},
    )


def describe_start(
    origin: Mapping[str, Any], init_from: str, splits: Mapping[str, Split], *, same_data: bool = False
) -> Start:
    """Say where encoders come from, and which photos of a test or validation split they were trained on.

    Args:
        origin: of the encoders.
        init_from: as configured.
        splits: of the run that starts.
        same_data: the encoders were trained on these very splits, so only what they started from is looked at.
    """
    data = origin.get("data", {})
    known = list(_runs(str(origin.get("run", "")), init_from))
    judged = known[same_data:]
    silent = not known or not all(knows_photos(run) for run in judged)
    before = origin.get("interpolated_from")
    notes = [f"Its positions were interpolated from images of {before} pixels."] if before else []
    if silent:
        notes.append(
            f"Which photos the encoders of {init_from}, or those before them, were trained on is not known here."
        )
    for name, parts in SEEN.items():
        seen = photos_seen(judged, parts, splits[name]) if name in splits else []
        if seen:
            notes.append(
                f"{len(seen)} of the {len(splits[name].photo_ids)} {name} photos were trained on before, or chose a "
                f"checkpoint, in what init_from={init_from} names: {listed(seen)}."
            )
    return Start(
        init_from,
        str(origin.get("run", "")),
        int(origin.get("step", 0)),
        str(origin.get("selection", "")),
        str(data.get("name", "")),
        tuple(notes),
    )


def _runs(*folders: str) -> Iterator[Run]:
    """The first folder that is a run, the run that it started from, and so on, as far as they are still there."""
    seen: set[Path] = set()
    run = next((Run(folder) for folder in folders if folder and Run(folder).splits_file.is_file()), None)
    while run is not None and run.folder not in seen and run.splits_file.is_file():
        seen.add(run.folder)
        yield run
        before = run.start
        run = Run(before.run) if before is not None and before.run else None


def knows_photos(run: Run) -> bool:
    """Whether a run wrote down which photos it saw; older ones did not."""
    return all(part.photo_sha256 or not part.photos for part in run.splits.values())


def photos_seen(runs: Sequence[Run], parts: Iterable[str], split: Split) -> list[str]:
    """Give the ids of the photos of a split that are in some parts of runs, as the very same files."""
    hashes = {
        sha256 for run in runs for name in parts if name in run.splits for sha256 in run.splits[name].photo_sha256
    }
    pairs = zip(split.photo_ids, split.photo_sha256, strict=True)
    return sorted(photo_id for photo_id, sha256 in pairs if short_hash(sha256) in hashes)


def _flag(value: Any) -> str:
    return f'"{value}"' if isinstance(value, tuple) else str(value)
