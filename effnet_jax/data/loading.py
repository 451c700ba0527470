"""Splits by data set name: found, built where there is need, opened.

TFDS is imported only when a data set is opened or built.
"""

import logging
import os
from pathlib import Path

import numpy as np

from effnet_jax.config import PHOTOS, Config, ConfigError
from effnet_jax.data import built
from effnet_jax.data.builders import Builder, find_builder
from effnet_jax.data.cache import CACHE_DIR
from effnet_jax.data.problems import DataError
from effnet_jax.data.split import Split

log = logging.getLogger(__name__)

MIN_HELD_OUT = 20  # photos
ENOUGH_PHOTOS = 2 * MIN_HELD_OUT  # to train on photos alone


def load_splits(config: Config) -> dict[str, Split]:
    """Load train and test, and hold out validation photos, with their sketches, from the training photos.

    Photos without sketches are the split "unpaired". Without any sketch they are divided into train and test, whose
    sketches are drawings.

    Raises:
        ConfigError: holding out leaves too few photos to train on.
        DataError: no data, or data that cannot be used.
    """
    data = config.data
    if data.name == PHOTOS:
        return _divide_photos(config)
    splits = _load_pairs(config)
    for name in ("validation", "test"):
        if name in splits:
            splits[name] = _measured(splits[name])
    if data.unpaired_photos:
        unpaired = _open_photos(config)
        for other in splits.values():
            unpaired = unpaired.without_photos_of(other)
        splits["unpaired"] = unpaired
    return splits


def _measured(split: Split) -> Split:
    """Leave drawings that stand among real sketches out of what figures are on, and say so."""
    real = split.without_some_drawings()
    if real is not split:
        log.warning(
            "%s %s: %d of its %d sketches are drawings made from photos, and are left out of its figures",
            split.dataset, split.name, len(split.tags) - len(real.tags), len(split.tags),
        )  # fmt: skip
    return real


def _open_photos(config: Config) -> Split:
    from effnet_jax.data.photo_folder import open_photos  # only here, as it needs OpenCV

    if not config.data.unpaired_photos:
        raise ConfigError("data.name='photos' needs a folder of photos: --config.data.unpaired_photos=FOLDER")
    return open_photos(config.data.unpaired_photos, config.pen, config.data.cache_dir or CACHE_DIR)


def _divide_photos(config: Config) -> dict[str, Split]:
    """Hold out photos, whose drawings show how training goes; they choose nothing."""
    data, photos = config.data, _open_photos(config)
    if len(photos.photo_ids) < ENOUGH_PHOTOS:
        raise ConfigError(
            f"data.unpaired_photos={data.unpaired_photos} has {len(photos.photo_ids)} photos that can be drawn; "
            f"training on photos alone needs {ENOUGH_PHOTOS}, of which {MIN_HELD_OUT} are held out. Bring more photos "
            "(of similar things will do), or draw some sketches yourself and take configs/folder.py."
        )
    count = max(MIN_HELD_OUT, round(data.validation_share * len(photos.photo_ids)))
    held_out = set(np.random.default_rng(data.split_seed).permutation(sorted(photos.photo_ids))[:count].tolist())
    return {
        "train": photos.select_photos(set(photos.photo_ids) - held_out, "train"),
        "test": photos.select_photos(held_out, "test"),
    }


def _load_pairs(config: Config) -> dict[str, Split]:
    data = config.data
    train, test = (
        load_split(
            data.name, name, source_dir=data.dir or None, tfds_dir=data.tfds_dir or None, split_seed=data.split_seed
        )
        for name in ("train", "test")
    )
    if not data.validation_share:
        return {"train": train, "test": test}
    sketched = sorted({train.photo_ids[j] for j in train.without_some_drawings().photo_index})
    count = max(MIN_HELD_OUT, round(data.validation_share * len(sketched)))
    if count > len(sketched) // 2:
        raise ConfigError(
            f"data.validation_share={data.validation_share} holds out {count} photos (at least "
            f"{MIN_HELD_OUT}) of {len(sketched)} with sketches, more than half; hold out none with "
            "--config.data.validation_share=0.0, or bring more photos."
        )
    held_out = set(np.random.default_rng(data.split_seed).permutation(sketched)[:count].tolist())
    return {
        "train": train.select_photos(set(train.photo_ids) - held_out, "train"),
        "validation": train.select_photos(held_out, "validation"),
        "test": test,
    }


def load_split(
    dataset: str | type[Builder],
    split: str,
    *,
    source_dir: str | os.PathLike[str] | None = None,
    tfds_dir: str | os.PathLike[str] | None = None,
    split_seed: int = 0,
) -> Split:
    """Open one split of a data set; the set is built on first use, and again whenever its source files change.

    Args:
        dataset: "clothes_v1", "qmul_chair_v1", "qmul_chair_v2", "qmul_shoe_v1" (its single sketches),
            "qmul_shoe_v1/all", "qmul_shoe_v2", "sketch_photo_folder", "procedural_garments", one of another package
            (see `builders`), or a builder itself.
        split: "train" or "test".
        source_dir: the folder with trainA, trainB, testA and testB. Else `$EFFNET_DATA_DIR/<data set>`, else
            `<tfds_dir>/downloads/manual/<data set>`.
        tfds_dir: where built sets are kept. Else `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`.
        split_seed: of the division by photo of a folder that has no test part.

    Returns:
        The split: ids, tags, and the true photo of each sketch; pictures are decoded when asked for.

    Raises:
        DataError: no such data set or split, no data, or data that cannot be used.
    """
    if split not in ("train", "test"):
        raise DataError(f"the splits are 'train' and 'test', not {split!r}")
    root = tfds_root(tfds_dir)
    builder = find_builder(dataset.partition("/")[0] if isinstance(dataset, str) else dataset)
    name = dataset if isinstance(dataset, str) else builder.name
    directory = _prepare(builder, name, source_dir, root, split_seed)
    described = built.read_description(directory)
    if described is None:
        raise DataError(f"the built set {directory} is not whole; remove it and start again")
    part = described["splits"][split]
    row_of = {photo_id: row for row, (photo_id, _) in enumerate(part["photos"])}
    return Split(
        dataset=name,
        name=split,
        sketch_ids=tuple(sketch[0] for sketch in part["sketches"]),
        tags=tuple(sketch[2] for sketch in part["sketches"]),
        photo_ids=tuple(row_of),
        photo_index=np.array([row_of[sketch[1]] for sketch in part["sketches"]], np.int32),
        sketch_sha256=tuple(sketch[3] for sketch in part["sketches"]),
        photo_sha256=tuple(photo[1] for photo in part["photos"]),
        files=built.Records(directory, split, part["sha256"]),
        sketch_rows=np.arange(len(part["sketches"]), dtype=np.int32),
        photo_rows=np.arange(len(part["photos"]), dtype=np.int32),
    )


def tfds_root(tfds_dir: str | os.PathLike[str] | None) -> Path:
    """Where built sets are kept: as given, else `$TFDS_DATA_DIR`, else `~/tensorflow_datasets`."""
    return Path(tfds_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def source_places(dataset: str, source_dir: str | os.PathLike[str] | None, tfds_dir: Path) -> dict[str, Path | None]:
    """Where the source folder of a data set is looked for, in order, by what says so; None where nothing does."""
    home = os.environ.get("EFFNET_DATA_DIR")
    return {
        "config.data.dir (source_dir)": Path(source_dir).expanduser() if source_dir else None,
        f"$EFFNET_DATA_DIR/{dataset}": Path(home).expanduser() / dataset if home else None,
        "the manual folder of TFDS": tfds_dir / "downloads" / "manual" / dataset,
    }


def _prepare(
    builder: type[Builder], dataset: str, source_dir: str | os.PathLike[str] | None, tfds_dir: Path, split_seed: int
) -> Path:
    """Build the set where there is need; returns its directory."""
    if builder.generated() is not None:
        return built.ensure_built(builder, None, None, tfds_dir)
    name, _, form = dataset.partition("/")
    places = source_places(name, source_dir, tfds_dir)
    # A folder that was named and is not there is never replaced by another one.
    candidates = [path for path in places.values() if path is not None][: 1 if source_dir else None]
    source = next((path for path in candidates if path.is_dir()), None)
    forms = builder.forms(form, source or candidates[0], split_seed)
    if source is not None:
        return built.ensure_built(builder, forms[0], source, tfds_dir)
    for config in forms:
        directory = built.set_directory(builder, config, tfds_dir)
        if built.read_description(directory) is not None:
            log.warning("%s: no source folder %s; using the set built before in %s", dataset, candidates[0], directory)
            return directory
    looked = "\n".join(f"  {what}: {'not set' if path is None else f'{path}'}" for what, path in places.items())
    raise DataError(
        f"{dataset} is not built yet and its source folder is at none of the places that can name it:\n{looked}\n"
        f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )
