"""Records by data set name: one split as sketches, a gallery of photos, and which belongs to which.

TFDS is imported only when a data set is opened or built.
"""

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32, UInt8

from effnet_jax.data import built
from effnet_jax.data.decode import decode_rgb
from effnet_jax.data.folders import hash_line, split_hash
from effnet_jax.data.problems import DataError

log = logging.getLogger(__name__)


@runtime_checkable
class PictureFiles(Protocol):
    """Where the encoded pictures of a split come from, by row; must be picklable and safe in threads."""

    def sketch(self, row: int) -> bytes:
        """The file of a sketch."""
        ...

    def photo(self, row: int) -> bytes:
        """The file of a photo."""
        ...


@dataclass(frozen=True, eq=False)
class Split:
    """One split: every sketch, and the whole gallery with the photos that nobody drew.

    Can be pickled and used in several processes and threads; pictures are decoded on access.

    Attributes:
        dataset: name as given to `load_split`.
        name: of the split.
        sketch_ids: in code point order.
        tags: of each sketch; the designer on Clothes-V1.
        photo_ids: the gallery, in code point order.
        photo_index: row of each sketch's photo in the gallery.
        sketch_sha256: of each sketch's source file.
        photo_sha256: of each photo's source file.
        files: the encoded pictures.
        sketch_rows: row of each sketch in `files`.
        photo_rows: row of each photo in `files`.
    """

    dataset: str
    name: str
    sketch_ids: tuple[str, ...]
    tags: tuple[str, ...]
    photo_ids: tuple[str, ...]
    photo_index: Int32[np.ndarray, " s"]
    sketch_sha256: tuple[str, ...]
    photo_sha256: tuple[str, ...]
    files: PictureFiles
    sketch_rows: Int32[np.ndarray, " s"]
    photo_rows: Int32[np.ndarray, " g"]

    @property
    def sha256(self) -> str:
        """The split hash: SHA-256 of the sorted lines `role id sha256(file)`."""
        return split_hash(
            [hash_line("sketch", *file) for file in zip(self.sketch_ids, self.sketch_sha256, strict=True)]
            + [hash_line("photo", *file) for file in zip(self.photo_ids, self.photo_sha256, strict=True)]
        )

    def sketch(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """Decode sketch `i`."""
        return decode_rgb(self.files.sketch(int(self.sketch_rows[i])))

    def photo(self, j: int) -> UInt8[np.ndarray, "h w 3"]:
        """Decode photo `j` of the gallery."""
        return decode_rgb(self.files.photo(int(self.photo_rows[j])))

    def select_photos(self, photo_ids: Collection[str], name: str) -> "Split":
        """The sub-split of these photos and all of their sketches, such as a validation part.

        Args:
            photo_ids: ids of this gallery, in any order.
            name: of the new split.

        Raises:
            DataError: ids that are not in this gallery, all of them named.
        """
        wanted = set(photo_ids)
        unknown = sorted(wanted - set(self.photo_ids))
        if unknown:
            raise DataError(f"{self.dataset} {self.name} has no photos named {', '.join(unknown)}")
        photos = [j for j, photo_id in enumerate(self.photo_ids) if photo_id in wanted]
        new_row = {j: row for row, j in enumerate(photos)}
        sketches = [i for i, j in enumerate(self.photo_index.tolist()) if j in new_row]
        return replace(
            self,
            name=name,
            sketch_ids=tuple(self.sketch_ids[i] for i in sketches),
            tags=tuple(self.tags[i] for i in sketches),
            photo_ids=tuple(self.photo_ids[j] for j in photos),
            photo_index=np.array([new_row[int(self.photo_index[i])] for i in sketches], np.int32),
            sketch_sha256=tuple(self.sketch_sha256[i] for i in sketches),
            photo_sha256=tuple(self.photo_sha256[j] for j in photos),
            sketch_rows=self.sketch_rows[sketches],
            photo_rows=self.photo_rows[photos],
        )


def load_split(
    dataset: str,
    split: str,
    *,
    source_dir: str | os.PathLike[str] | None = None,
    tfds_dir: str | os.PathLike[str] | None = None,
    split_seed: int = 0,
) -> Split:
    """Open one split of a data set; the set is built on first use, and again whenever its source files change.

    Args:
        dataset: "clothes_v1", "qmul_chair_v1", "qmul_chair_v2", "qmul_shoe_v1" (its single sketches),
            "qmul_shoe_v1/all", "qmul_shoe_v2", "sketch_photo_folder" or "procedural_garments".
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
    directory = _prepare(dataset, source_dir, root, split_seed)
    described = built.read_description(directory)
    if described is None:
        raise DataError(f"the built set {directory} is not whole; remove it and start again")
    part = described["splits"][split]
    row_of = {photo_id: row for row, (photo_id, _) in enumerate(part["photos"])}
    return Split(
        dataset=dataset,
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


def _prepare(dataset: str, source_dir: str | os.PathLike[str] | None, tfds_dir: Path, split_seed: int) -> Path:
    name, _, form = dataset.partition("/")
    builder = built.builder_class(name)
    if builder.generated() is not None:
        return built.ensure_built(builder, None, None, tfds_dir)
    places = source_places(name, source_dir, tfds_dir)
    # A folder that was named and is not there is never replaced by another one.
    candidates = [path for path in places.values() if path is not None][: 1 if source_dir else None]
    source = next((path for path in candidates if path.is_dir()), None)
    configs = _configs(builder, form, source or candidates[0], split_seed)
    if source is not None:
        return built.ensure_built(builder, configs[0], source, tfds_dir)
    for config in configs:
        directory = built.set_directory(builder, config, tfds_dir)
        if built.read_description(directory) is not None:
            log.warning("%s: no source folder %s; using the set built before in %s", dataset, candidates[0], directory)
            return directory
    looked = "\n".join(f"  {what}: {'not set' if path is None else f'{path}'}" for what, path in places.items())
    raise DataError(
        f"{dataset} is not built yet and its source folder is at none of the places that can name it:\n{looked}\n"
        f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
    )


def _configs(builder, form: str, source: Path, split_seed: int) -> list:
    """The builder configurations that may hold the set, most likely first; [None] where there is only one form."""
    if builder.name == "sketch_photo_folder" and not form:
        from tfds_builders.sketch_photo_folder.sketch_photo_folder_dataset_builder import folder_configs

        return folder_configs(source, split_seed=split_seed)
    known = {config.name: config for config in builder.BUILDER_CONFIGS}
    if not known and not form:
        return [None]
    wanted = form or builder.DEFAULT_BUILDER_CONFIG_NAME
    if wanted not in known:
        forms = ", ".join(f"{builder.name}/{config}" for config in known) or f"only {builder.name}"
        raise DataError(f"there is no data set {builder.name}/{form}; there is {forms}")
    return [known[wanted]]
