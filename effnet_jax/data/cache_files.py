"""Pixel arrays as files that are mapped into memory: complete or absent, whatever dies while they are written."""

import dataclasses
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import PIL

from effnet_jax.storage.files import held

LAYOUT = 1  # raise it when decoding, resizing or the files change; older files are then not used any more

Key = TypeVar("Key", bound=tuple[str, int])


@dataclasses.dataclass(frozen=True)
class Store:
    """The files of one split in a folder.

    Args:
        folder: created when the first file is written.
        title: begins the file names, for people.
        sha256: hash of the split's source files.
        resample: filter of the resizes.
    """

    folder: Path
    title: str
    sha256: str
    resample: str

    def path(self, key: tuple[str, int]) -> Path:
        """File of one role and size."""
        identity = json.dumps([LAYOUT, self.sha256, *key, self.resample, PIL.__version__])
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        return self.folder / f"{self.title.replace('/', '-')}-{key[0]}-{key[1]}-{digest}.npy"

    def open(self, key: tuple[str, int], shape: tuple[int, ...]) -> np.ndarray | None:
        """Map a file, read-only; None where it is missing or not what it should be."""
        try:
            array = np.load(self.path(key), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            return None
        return array if array.shape == shape and array.dtype == np.uint8 else None

    def open_or_make(
        self, shapes: Mapping[Key, tuple[int, ...]], fill: Callable[[Mapping[Key, np.ndarray]], None]
    ) -> dict[Key, np.ndarray]:
        """Map all files, after `fill` has written into those that are missing.

        Several processes may do this at once: one writes, the others wait; where the file system has no locks, each
        writes its own and the last one stays.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        found = self._open_all(shapes)
        if len(found) < len(shapes):
            self.folder.mkdir(parents=True, exist_ok=True)
            with held(self.folder / f"{self.sha256[:16]}.lock") as alone:
                missing = {key: shape for key, shape in shapes.items() if key not in self._open_all(shapes)}
                if alone:
                    self._remove_leftovers(missing)
                self._make(missing, fill)
            found = self._open_all(shapes)
        if len(found) < len(shapes):
            raise OSError(f"files vanished from {self.folder} while they were opened; does something delete them?")
        return found

    def free_space(self) -> int:
        """Bytes that are free where the folder is, or will be."""
        existing = next(parent for parent in (self.folder, *self.folder.absolute().parents) if parent.is_dir())
        return shutil.disk_usage(existing).free

    def _open_all(self, shapes: Mapping[Key, tuple[int, ...]]) -> dict[Key, np.ndarray]:
        opened = {key: self.open(key, shape) for key, shape in shapes.items()}
        return {key: array for key, array in opened.items() if array is not None}

    def _remove_leftovers(self, keys: Mapping[Key, tuple[int, ...]]) -> None:
        for key in keys:  # of processes that were killed: we hold the lock, so nobody is writing them
            for leftover in self.folder.glob(f"{self.path(key).name}.*.part"):
                leftover.unlink(missing_ok=True)

    def _make(self, shapes: Mapping[Key, tuple[int, ...]], fill: Callable[[Mapping[Key, np.ndarray]], None]) -> None:
        mark = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        parts = {key: self.path(key).with_name(f"{self.path(key).name}.{mark}.part") for key in shapes}
        try:
            arrays = {}
            for key, shape in shapes.items():
                arrays[key] = np.lib.format.open_memmap(parts[key], "w+", np.uint8, shape)
                _reserve(parts[key])
            fill(arrays)
            while arrays:
                key, array = arrays.popitem()
                array.flush()  # to the disk before the name appears: a power cut must not leave a file of zeros
                del array
                os.replace(parts[key], self.path(key))
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)


def _reserve(path: Path) -> None:
    """Claim a sparse file's space: a disk that fills up later would kill the process at a write into the mapping."""
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with open(path, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(error.errno, f"cannot reserve {size} bytes for {path}: {error.strerror}") from error
