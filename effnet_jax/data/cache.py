"""Decoded, resized images of a split: each unique photo and sketch is decoded once, then kept in RAM or on disk."""

import dataclasses
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int, Integer, UInt8

from effnet_jax.config import CacheMode
from effnet_jax.data import cache_files
from effnet_jax.data.split import Split
from effnet_jax.images.preprocessing import resize
from effnet_jax.runtime import memory
from effnet_jax.runtime.progress import in_threads, track

Role = Literal["sketch", "photo"]
ROLES: tuple[Role, ...] = get_args(Role)
Sizes = Sequence[int] | Mapping[Role, Sequence[int]]  # edges, pixels; of sketches and photos alike, or by role
MODES = get_args(CacheMode)
CACHE_DIR = "~/.cache/effnet_jax"  # by default

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageRows:
    """All sketches or all photos of a split at one size: indexed like an array, whatever holds the pixels.

    Args:
        split: where pixels that are not kept are decoded from.
        role: "sketch" or "photo".
        size: edge, pixels.
        resample: "bilinear" or "bicubic".
        pixels: the images, in RAM or mapped from disk; None decodes at each access.
    """

    split: Split
    role: Role
    size: int
    resample: str
    pixels: UInt8[np.ndarray, "n h w 3"] | None = None

    def __len__(self) -> int:
        return len(_ids(self.split, self.role))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of images, height, width, channels."""
        return len(self), self.size, self.size, 3

    def __getitem__(
        self, index: int | slice | Sequence[int] | Integer[np.ndarray, "*n"]
    ) -> UInt8[np.ndarray, "*n h w 3"]:
        """Give one image (a number), or several (a slice or numbers), as a new array that owns its memory."""
        if isinstance(index, slice):
            index = range(*index.indices(len(self)))
        rows = np.asarray(index, dtype=np.int64)
        if self.pixels is not None:
            return np.take(self.pixels, rows, axis=0)
        images = [resize(_decode(self.split, self.role, int(i)), self.size, self.resample) for i in rows.reshape(-1)]
        return np.asarray(images, np.uint8).reshape(*rows.shape, self.size, self.size, 3)


@dataclasses.dataclass(frozen=True, eq=False)
class ImageCache:
    """The images of a split at the sizes that the views start from. Made by `cached_images`.

    Args:
        split: the sketches and photos.
        sizes: edges of sketches and of photos, pixels.
        resample: "bilinear" or "bicubic".
        mode: where the pixels are: "ram", "disk", or "none" (decoded at each access).
        pixels: by role and size; empty where the mode is "none".
    """

    split: Split
    sizes: Mapping[Role, tuple[int, ...]]
    resample: str
    mode: str
    pixels: Mapping[tuple[Role, int], UInt8[np.ndarray, "_ _ _ 3"]]

    def sketches(self, size: int) -> ImageRows:
        """All sketches, in the order of `split.sketch_ids`."""
        return self._rows("sketch", size)

    def photos(self, size: int) -> ImageRows:
        """All photos, in the order of `split.photo_ids`."""
        return self._rows("photo", size)

    def take(
        self, role: Role, rows: Int[np.ndarray, " b"], sizes: Sequence[int]
    ) -> dict[int, UInt8[np.ndarray, "b _ _ 3"]]:
        """Give some images at several sizes; what is not kept is decoded once for all of the sizes."""
        if not sizes:
            return {}
        views = {size: self._rows(role, size) for size in sizes}
        if self.mode != "none":
            return {size: view[rows] for size, view in views.items()}
        decoded = [_decode(self.split, role, int(i)) for i in rows]
        return {size: np.stack([resize(image, size, self.resample) for image in decoded]) for size in sizes}

    def take_pairs(
        self, sketches: Int[np.ndarray, " b"], epochs: Int[np.ndarray, " b"], sizes: Mapping[Role, Sequence[int]]
    ) -> dict[tuple[Role, int], UInt8[np.ndarray, "b _ _ 3"]]:
        """Give sketches and their photos by role and size, the same in every epoch."""
        del epochs
        rows: dict[Role, np.ndarray] = {"sketch": sketches, "photo": self.split.photo_index[sketches]}
        return {
            (role, size): images for role in ROLES for size, images in self.take(role, rows[role], sizes[role]).items()
        }

    def _rows(self, role: Role, size: int) -> ImageRows:
        if size not in self.sizes[role]:
            raise ValueError(
                f"The cache has no {role} images of {size} pixels, only of {self.sizes[role]}; add it to its sizes"
            )
        return ImageRows(self.split, role, size, self.resample, self.pixels.get((role, size)))


def cached_images(
    split: Split,
    sizes: Sizes,
    resample: str = "bilinear",
    *,
    mode: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
) -> ImageCache:
    """Decode and resize every sketch and every photo of a split, once.

    On disk, each role and size is one .npy file, mapped into memory and named after the hash of the split's files, the
    size, the filter and the Pillow version. It appears by renaming, complete or not at all, so a killed process leaves
    nothing that is believed later, and several processes may ask for it at once. Files of older data stay until the
    folder is deleted.

    Args:
        split: the sketches and photos.
        sizes: edges, pixels; of both, or by role, of which one may have none.
        resample: "bilinear" or "bicubic".
        mode: "ram"; "disk"; "none" (decode at each access); or "auto": ram if a quarter of the free memory is enough,
            else disk if half of the free space is, else none.
        cache_dir: where the files of "disk" go, created when needed; "auto" without it never takes disk.

    Raises:
        ValueError: an unknown mode, "disk" without a folder, or images that cannot be decoded, all of them by id.
        OSError: the disk is full or cannot be written.
    """
    by_role = sizes if isinstance(sizes, Mapping) else dict.fromkeys(ROLES, sizes)
    edges = {role: tuple(sorted(set(by_role[role]))) for role in ROLES}
    wanted = [size for of_role in edges.values() for size in of_role]
    if mode not in MODES:
        raise ValueError(f"cache mode {mode!r} is not known; choose one of {', '.join(MODES)}")
    if not wanted or min(wanted) < 1:
        raise ValueError(f"sizes={sizes} needs at least one edge, in pixels above 0")
    if mode == "disk" and cache_dir is None:
        raise ValueError('cache mode "disk" needs cache_dir, the folder for its files')
    shapes = {(role, size): (len(_ids(split, role)), size, size, 3) for role in ROLES for size in edges[role]}
    store = None
    if cache_dir is not None and mode in ("auto", "disk"):
        store = cache_files.Store(Path(cache_dir).expanduser(), f"{split.dataset}-{split.name}", split.sha256, resample)
    if mode == "auto":
        mode = _choose_mode(shapes, store)
        log.info("images of %s/%s are kept in: %s", split.dataset, split.name, mode)
    pixels: Mapping[tuple[Role, int], np.ndarray] = {}
    if mode == "ram":
        pixels = {key: np.empty(shape, np.uint8) for key, shape in shapes.items()}
        _fill(split, pixels, resample)
        for array in pixels.values():
            array.flags.writeable = False
    elif mode == "disk" and store is not None:
        pixels = store.open_or_make(shapes, lambda missing: _fill(split, missing, resample))
    return ImageCache(split, edges, resample, mode, pixels)


def _choose_mode(shapes: Mapping[tuple[Role, int], tuple[int, ...]], store: cache_files.Store | None) -> str:
    """Choose by the free memory and the free space; pixels are a byte a value."""
    if sum(map(math.prod, shapes.values())) <= memory.free_memory() // 4:
        return "ram"
    if store is None:
        return "none"
    missing = [shape for key, shape in shapes.items() if store.open(key, shape) is None]
    return "disk" if sum(map(math.prod, missing)) <= store.free_space() // 2 else "none"


def _ids(split: Split, role: Role) -> tuple[str, ...]:
    return split.sketch_ids if role == "sketch" else split.photo_ids


def _decode(split: Split, role: Role, index: int) -> UInt8[np.ndarray, "h w 3"]:
    return split.sketch(index) if role == "sketch" else split.photo(index)


def _fill(split: Split, pixels: Mapping[tuple[Role, int], np.ndarray], resample: str) -> None:
    """Decode each image once, in threads, and write it at all of its sizes."""
    targets = {role: [(size, array) for (owner, size), array in pixels.items() if owner == role] for role in ROLES}
    work = [(role, i) for role in ROLES if targets[role] for i in range(len(_ids(split, role)))]

    def one(item: tuple[Role, int]) -> str:
        role, i = item
        try:
            image = _decode(split, role, i)
        except (ValueError, OSError) as error:
            return f"{role} {_ids(split, role)[i]}: {error}"
        for size, array in targets[role]:
            array[i] = resize(image, size, resample)
        return ""

    description = f"Decoding {split.dataset} {split.name}"
    problems = [p for p in track(in_threads(one, work), total=len(work), description=description) if p]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise ValueError(f"{len(problems)} images of {split.dataset} {split.name} cannot be decoded:\n{lines}")
