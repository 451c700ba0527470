"""A small split in memory: noise pictures of differing sizes, encoded as PNG, so that decoding is real."""

import dataclasses
import hashlib
import threading

import numpy as np

from effnet_jax.data.split import Split
from effnet_jax.images.decode import encode_png


@dataclasses.dataclass
class FilesInMemory:
    sketches: list[bytes]
    photos: list[bytes]

    def sketch(self, row: int) -> bytes:
        return self.sketches[row]

    def photo(self, row: int) -> bytes:
        return self.photos[row]


class CountingFiles(FilesInMemory):
    """Counts how often each file is read."""

    def __init__(self, sketches, photos):
        super().__init__(sketches, photos)
        self.reads: dict[tuple[str, int], int] = {}
        self.lock = threading.Lock()

    def sketch(self, row: int) -> bytes:
        return self._count("sketch", row, super().sketch(row))

    def photo(self, row: int) -> bytes:
        return self._count("photo", row, super().photo(row))

    def _count(self, role, row, data):
        with self.lock:
            self.reads[role, row] = self.reads.get((role, row), 0) + 1
        return data


def fake_split(sketches: int = 11, photos: int = 5, seed: int = 0, files=FilesInMemory) -> Split:
    rng = np.random.default_rng(seed)

    def picture():
        height, width = rng.integers(9, 20, 2)
        return encode_png(rng.integers(0, 256, (height, width, 3), np.uint8))

    sketch_files, photo_files = [picture() for _ in range(sketches)], [picture() for _ in range(photos)]
    index = np.sort(np.arange(sketches) % photos).astype(np.int32)
    return Split(
        dataset="fake/all",
        name="train",
        sketch_ids=tuple(f"{index[i]:03d}_{i:03d}" for i in range(sketches)),
        tags=tuple(f"{i:03d}" for i in range(sketches)),
        photo_ids=tuple(f"{j:03d}" for j in range(photos)),
        photo_index=index,
        sketch_sha256=tuple(hashlib.sha256(data).hexdigest() for data in sketch_files),
        photo_sha256=tuple(hashlib.sha256(data).hexdigest() for data in photo_files),
        files=files(sketch_files, photo_files),
        sketch_rows=np.arange(sketches, dtype=np.int32),
        photo_rows=np.arange(photos, dtype=np.int32),
    )
