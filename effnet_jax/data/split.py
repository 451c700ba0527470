"""One split of a data set: sketches, a gallery of photos, and which belongs to which."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32, UInt8

from effnet_jax.data.decode import decode_rgb
from effnet_jax.data.folders import hash_line, split_hash
from effnet_jax.data.problems import DataError


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
