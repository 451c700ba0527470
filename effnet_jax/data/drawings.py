"""Sketches that are drawn anew in each epoch, as training takes them: from photos, or from real sketches. No JAX."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, UInt8

from effnet_jax.config import PenConfig
from effnet_jax.data.cache import ImageCache, Role
from effnet_jax.data.photo_folder import photo_seed
from effnet_jax.data.split import DRAWN
from effnet_jax.images.pseudo_sketch import CANVAS, draw_lines, redraw_lines, resize_lines


@dataclasses.dataclass(frozen=True, eq=False)
class Drawings:
    """The photos of a split, drawn when they are asked for; stands where an `ImageCache` does in training.

    Args:
        photos: resized photos, the canvas among their sizes.
        pen: draws the sketches.
        seed: of the run; together with photo and epoch it decides a drawing.
    """

    photos: ImageCache
    pen: PenConfig
    seed: int

    @property
    def mode(self) -> str:
        """Where the pixels of the photos are."""
        return self.photos.mode

    @property
    def sizes(self) -> Mapping[Role, tuple[int, ...]]:
        """Edges of sketches (any that photos have) and of photos, pixels."""
        return dict.fromkeys(("sketch", "photo"), self.photos.sizes["photo"])

    def take_pairs(
        self, sketches: Int[np.ndarray, " b"], epochs: Int[np.ndarray, " b"], sizes: Mapping[Role, tuple[int, ...]]
    ) -> dict[tuple[Role, int], UInt8[np.ndarray, "b _ _ 3"]]:
        """Give photos, and a drawing of each for an epoch, at the wanted sizes."""
        wanted = (*sizes["photo"], CANVAS) if sizes["sketch"] else sizes["photo"]
        photos = self.photos.take("photo", sketches, wanted)
        taken: dict[tuple[Role, int], np.ndarray] = {("photo", size): photos[size] for size in sizes["photo"]}
        if sizes["sketch"]:
            seeds = [photo_seed(self.photos.split.photo_sha256[i]) for i in sketches]
            drawn = [
                draw_lines(photo, self.pen, (1 + self.seed, photo_id, epoch))  # 0 stands for the fixed drawings
                for photo, photo_id, epoch in zip(photos[CANVAS], seeds, epochs.tolist(), strict=True)
            ]
            for size in sizes["sketch"]:
                taken["sketch", size] = np.stack([resize_lines(lines, size, self.photos.resample) for lines in drawn])
        return taken


@dataclasses.dataclass(frozen=True, eq=False)
class Redrawn:
    """Pairs whose real sketches are drawn anew, some of them in each epoch; stands where an `ImageCache` does.

    Args:
        images: resized sketches and photos, the canvas among the sizes of the sketches.
        pen: draws them.
        seed: of the run; together with sketch and epoch it decides a drawing.
        share: of the sketches that are drawn anew in an epoch, 0..1.
    """

    images: ImageCache
    pen: PenConfig
    seed: int
    share: float

    @property
    def mode(self) -> str:
        """Where the pixels are."""
        return self.images.mode

    @property
    def sizes(self) -> Mapping[Role, tuple[int, ...]]:
        """Edges of sketches and of photos, pixels."""
        return self.images.sizes

    def take_pairs(
        self, sketches: Int[np.ndarray, " b"], epochs: Int[np.ndarray, " b"], sizes: Mapping[Role, tuple[int, ...]]
    ) -> dict[tuple[Role, int], UInt8[np.ndarray, "b _ _ 3"]]:
        """Give sketches and their photos, as an epoch shows them."""
        taken = self.images.take_pairs(sketches, epochs, sizes)
        if not sizes["sketch"]:
            return taken
        keys = [int(self.images.split.sketch_sha256[i][:12], 16) for i in sketches]
        seeds = [(1 + self.seed, key, epoch) for key, epoch in zip(keys, epochs.tolist(), strict=True)]
        chosen = [np.random.default_rng([2, *seed]).random() < self.share for seed in seeds]
        real = [not self.images.split.tags[i].startswith(DRAWN) for i in sketches]
        rows = np.flatnonzero(np.array(chosen) & np.array(real)).tolist()
        if rows:
            canvases = self.images.take("sketch", sketches[rows], (CANVAS,))[CANVAS]
            for row, canvas in zip(rows, canvases, strict=True):
                lines = redraw_lines(canvas, self.pen, seeds[row])
                for size in sizes["sketch"]:
                    taken["sketch", size][row] = resize_lines(lines, size, self.images.resample)
        return taken
