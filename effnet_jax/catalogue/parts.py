"""Photos into the parts of an index: read, known by content or encoded, and safe on disk every so often."""

import dataclasses
import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from effnet_jax.catalogue import part_files
from effnet_jax.catalogue.layout import PHOTO
from effnet_jax.catalogue.picture import reason_of
from effnet_jax.data.scan import Found, PhotoPath
from effnet_jax.encoders.encoders import Encoders
from effnet_jax.images.decode import DecodeError, decode_rgb
from effnet_jax.images.preprocessing import resize
from effnet_jax.presentation.page import thumbnail
from effnet_jax.runtime.interrupt import Interrupt
from effnet_jax.runtime.progress import in_threads, track

_NOT_FINITE = "the encoder gives no finite numbers for it"
PART_SECONDS = 20  # after which a part is written even if it is small: what a kill may cost
THUMBNAIL = 160  # longest edge, pixels


@dataclasses.dataclass
class _Read:
    """A photo as it comes from the disk; without pixels where its content is known."""

    photo: PhotoPath
    sha256: bytes = b""
    pixels: np.ndarray | None = None
    thumbnail: bytes = b""
    reason: str = ""


class PartWriter:
    """Turns photos into parts on disk, and knows every photo that lies in one.

    Args:
        folder: of the index.
        encoders: what embeds.
        tokens: keep the final-norm tokens too; parts without them then count for nothing, as damaged ones do.
        batch_size: photos encoded at a time.
        part_photos: photos after which a part is written.
        interrupt: asked after each photo whether to stop.
    """

    def __init__(
        self,
        folder: Path,
        encoders: Encoders,
        *,
        tokens: bool,
        batch_size: int,
        part_photos: int,
        interrupt: Interrupt,
    ):
        self.folder, self.encoders, self.tokens = folder, encoders, tokens
        self.batch_size, self.part_photos, self.interrupt = batch_size, part_photos, interrupt
        self.embedded = 0
        self.place: dict[bytes, tuple[int, int]] = {}  # content -> part and row
        self._batch: list[_Read] = []
        self._waiting: dict[bytes, tuple] = {}  # content -> embedding, thumbnail, tokens; not yet on disk
        self._written = time.monotonic()
        self._next = max(part_files.taken_numbers(folder), default=0) + 1
        for number in part_files.part_numbers(folder):
            contents = part_files.part_contents(folder, number, tokens=tokens)
            for row, sha256 in enumerate([] if contents is None else contents):
                self.place[sha256.tobytes()] = number, row

    def unchanged(self, found: Found, before: Mapping[PhotoPath, bytes]) -> dict[str, bytes]:
        """Give the content hash of each path whose size and time are those of the index so far, `before`."""
        return {photo.path: before[photo] for photo in found.photos if before.get(photo) in self.place}

    def embed(self, found: Found, unchanged: Mapping[str, bytes]) -> dict[str, bytes]:
        """Make sure that every readable photo lies in a part; gives the content hash of each path.

        Photos that cannot be read move from `found.photos` to `found.unreadable`.

        Args:
            found: what the walk found.
            unchanged: content hashes of paths that are not read again.

        Raises:
            KeyboardInterrupt: a stop was asked for; what was encoded is on disk.
        """
        hashes = dict(unchanged)
        todo = [photo for photo in found.photos if photo.path not in hashes]
        reads = in_threads(self._read, todo, ahead=2 * self.batch_size)
        stamps = {}
        try:
            for read in track(reads, total=len(todo), description="embedding photos"):
                if read.reason:
                    found.unreadable.append((read.photo.path, read.reason))
                else:
                    hashes[read.photo.path], stamps[read.photo.path] = read.sha256, read.photo
                    if read.pixels is not None and not self._has(read.sha256):
                        self._batch.append(read)
                if len(self._batch) >= self.batch_size:
                    self._encode(found, hashes)
                if len(self._waiting) >= self.part_photos or time.monotonic() - self._written > PART_SECONDS:
                    self._write_part()
                if self.interrupt.requested:
                    break
            self._encode(found, hashes)
        finally:  # also when the disk is full or a picture breaks something: what was encoded is worth keeping
            self._write_part()
        if self.interrupt.requested:
            raise KeyboardInterrupt(f"stopped: {self.embedded} photos were embedded and kept; the same command goes on")
        for path in [path for path, sha256 in hashes.items() if sha256 not in self.place]:  # copies of one refused
            found.unreadable.append((path, _NOT_FINITE))
            hashes.pop(path)
        found.photos = [stamps.get(p.path, p) for p in found.photos if p.path in hashes]
        return hashes

    def table(self, photos: Sequence[PhotoPath], hashes: dict[str, bytes]) -> tuple[np.ndarray, bytes]:
        """Lay out the rows of photos-*.npy, and the paths."""
        rows = np.zeros(len(photos), PHOTO)
        paths = [photo.path.encode() for photo in photos]
        rows["sha256"] = np.frombuffer(b"".join(hashes[p.path] for p in photos), np.uint8).reshape(-1, 32)
        rows["size"] = [p.size for p in photos]
        rows["mtime_ns"] = [p.mtime_ns for p in photos]
        rows["path_end"] = np.cumsum([len(path) for path in paths])
        rows["part"], rows["row"] = zip(*(self.place[hashes[p.path]] for p in photos), strict=True)
        return rows, b"".join(paths)

    def _has(self, sha256: bytes) -> bool:
        return sha256 in self.place or sha256 in self._waiting or any(r.sha256 == sha256 for r in self._batch)

    def _read(self, photo: PhotoPath) -> _Read:
        try:
            with open(photo.path, "rb") as file:
                data, status = file.read(), os.fstat(file.fileno())
            read = _Read(PhotoPath(photo.path, status.st_size, status.st_mtime_ns), hashlib.sha256(data).digest())
            if read.sha256 not in self.place:
                image = decode_rgb(data)
                size = self.encoders.preprocessing
                read.pixels = resize(image, size.image_size, size.resample)
                read.thumbnail = thumbnail(image, THUMBNAIL)
        except (DecodeError, OSError) as error:
            return _Read(photo, reason=reason_of(error))
        return read

    def _encode(self, found: Found, hashes: dict[str, bytes]) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        images = np.stack([read.pixels for read in batch if read.pixels is not None])
        if self.tokens:
            embeddings, tokens = self.encoders.embed_photos_with_tokens(images)
        else:
            embeddings, tokens = self.encoders.embed_photos(images), [None] * len(batch)
        for read, embedding, token in zip(batch, embeddings, tokens, strict=True):
            if not np.isfinite(embedding).all():
                found.unreadable.append((read.photo.path, _NOT_FINITE))
                hashes.pop(read.photo.path)
                continue
            self._waiting[read.sha256] = embedding, read.thumbnail, token
            self.embedded += 1

    def _write_part(self) -> None:
        self._written = time.monotonic()
        if not self._waiting:
            return
        embeddings, thumbnails, tokens = zip(*self._waiting.values(), strict=True)
        arrays = {
            "embeddings": np.stack(embeddings).astype(np.float16),
            "sha256": np.frombuffer(b"".join(self._waiting), np.uint8).reshape(-1, 32),
        }
        if self.tokens:
            arrays["tokens"] = np.stack(tokens)
        part_files.write_part(self.folder, self._next, arrays, list(thumbnails))
        for row, sha256 in enumerate(self._waiting):
            self.place[sha256] = self._next, row
        self._next, self._waiting = self._next + 1, {}
