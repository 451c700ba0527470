"""One split of a data set: sketches, a gallery of photos, and which belongs to which."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32, UInt8

from effnet_jax.data.folders import hash_line, split_hash
from effnet_jax.data.problems import DataError
from effnet_jax.images.decode import decode_rgb
from effnet_jax.presentation.listed import listed

log = logging.getLogger(__name__)

DRAWN = "drawn"  # how the tags of pseudo sketches begin


def name_measured(split: str, *, drawn: bool) -> str:
    """Name a split under which figures are reported: those on drawings never pass for those on real sketches."""
    return (DRAWN if split == "test" else f"{DRAWN} {split}") if drawn else split


def split_measured(name: str) -> str:
    """Give the split that `name_measured` named.

    Example:
        >>> from effnet_jax.data.split import name_measured, split_measured
        >>> name_measured("test", drawn=True), split_measured("drawn"), split_measured("drawn validation")
        ('drawn', 'test', 'validation')
    """
    return "test" if name == DRAWN else name.removeprefix(f"{DRAWN} ")


def title_of(dataset: str, measured: str) -> str:
    """Name what figures are on: the data set, and the split where it is not the usual one, the test.

    Args:
        dataset: its name.
        measured: as `name_measured` gives it.
    """
    return dataset if measured == "test" else f"{dataset}, {measured}"


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

    @property
    def drawn(self) -> bool:
        """Whether every sketch is a drawing made from its photo, not by a person."""
        return bool(self.tags) and all(tag.startswith(DRAWN) for tag in self.tags)

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
        kept = self._select_sketches([i for i, j in enumerate(self.photo_index.tolist()) if j in new_row])
        return replace(
            kept,
            name=name,
            photo_ids=tuple(self.photo_ids[j] for j in photos),
            photo_index=np.array([new_row[int(j)] for j in kept.photo_index], np.int32),
            photo_sha256=tuple(self.photo_sha256[j] for j in photos),
            photo_rows=self.photo_rows[photos],
        )

    def _select_sketches(self, rows: Sequence[int]) -> "Split":
        """Keep these sketches, and the whole gallery."""
        return replace(
            self,
            sketch_ids=tuple(self.sketch_ids[i] for i in rows),
            tags=tuple(self.tags[i] for i in rows),
            photo_index=self.photo_index[rows],
            sketch_sha256=tuple(self.sketch_sha256[i] for i in rows),
            sketch_rows=self.sketch_rows[rows],
        )

    def without_some_drawings(self) -> "Split":
        """The sub-split of real sketches, where there are some among drawings: a figure is on one or the other."""
        real = [i for i, tag in enumerate(self.tags) if not tag.startswith(DRAWN)]
        return self._select_sketches(real) if 0 < len(real) < len(self.tags) else self

    def without_photos_of(self, other: "Split") -> "Split":
        """The sub-split without photos whose very files are in another split, such as a test set; says which."""
        theirs = set(other.photo_sha256)
        shared = [name for name, sha256 in zip(self.photo_ids, self.photo_sha256, strict=True) if sha256 in theirs]
        if not shared:
            return self
        log.warning(
            "%d photos of %s are also %s photos of %s, and are left out: %s",
            len(shared), self.dataset, other.name, other.dataset, listed(shared),
        )  # fmt: skip
        return self.select_photos(set(self.photo_ids) - set(shared), self.name)
