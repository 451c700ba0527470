"""Procedural garments: a generated stand-in with the shape of Clothes-V1.

500 photos and 1200 sketches by seven designers of differing hands; 380 photos with 925 sketches are for training, 120
photos with 275 sketches, of garments never seen in training, for testing. Some garments differ from another one in
details only. Everything is a function of the seed, pixel for pixel.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from multiprocessing import get_context

import numpy as np
from jaxtyping import UInt8

from tfds_builders.procedural_garments.garments.geometry import SIZE
from tfds_builders.procedural_garments.garments.parameters import Garment, draw_garment, vary
from tfds_builders.procedural_garments.garments.photo import draw_photo
from tfds_builders.procedural_garments.garments.plan import Plan, PlannedSketch, split_plan
from tfds_builders.procedural_garments.garments.sketch import DESIGNERS, NUM_DESIGNERS, Designer, draw_sketch

__all__ = [
    "DESIGNERS", "GENERATOR_SHA256", "NUM_DESIGNERS", "SIZE", "Designer", "Garment", "GarmentSet", "Picture", "Plan",
    "PlannedSketch", "digest", "draw_garment", "draw_photo", "draw_sketch", "generate", "split_plan", "vary",
]  # fmt: skip

# of all decoded pixels of seed 0, see `digest`: the generator is settled, and a change of any pixel is a new data set
GENERATOR_SHA256 = "89cbe70776fd2270c7c771f2caef6d778ad22900e48bc70db60e3248186023e5"


@dataclass(frozen=True)
class Picture:
    """One photo or sketch.

    Attributes:
        split: "train" or "test".
        role: "photo" or "sketch".
        id: "00066" of a photo, "00066_01" of a sketch.
        photo_id: the photo itself, or the photo that the sketch was drawn from.
        tag: the designer of a sketch, "01" to "07"; empty for a photo.
        pixels: RGB.
    """

    split: str
    role: str
    id: str
    photo_id: str
    tag: str
    pixels: UInt8[np.ndarray, "256 256 3"]


@dataclass(frozen=True)
class GarmentSet:
    """The set of a seed, each picture drawn when it is asked for (some 50 ms); cheap to pickle."""

    seed: int = 0

    @cached_property
    def plan(self) -> Plan:
        """Ids, splits, designers and parameters, without a pixel."""
        return split_plan(self.seed)

    def photo(self, photo_id: str) -> UInt8[np.ndarray, "256 256 3"]:
        """The photo of this id; KeyError if there is none."""
        return draw_photo(self.plan.garments[photo_id])

    def sketch(self, sketch_id: str) -> UInt8[np.ndarray, "256 256 3"]:
        """The sketch of this id; KeyError if there is none."""
        planned = self.plan.sketch(sketch_id)
        return draw_sketch(self.plan.garments[planned.photo_id], planned.designer, self.seed)


def generate(seed: int = 0, *, workers: int | None = None) -> Iterator[Picture]:
    """Draw the whole set: all photos of train, its sketches, all photos of test, its sketches; ids ascending.

    Args:
        seed: of the set; `GENERATOR_SHA256` belongs to 0.
        workers: processes that draw; None is one per core, 0 draws in this process. The pictures do not depend on it.

    Raises:
        ValueError: workers is negative.
    """
    if workers is not None and workers < 0:
        raise ValueError(
            f"workers={workers}: give the number of drawing processes, 0 for none, or None for one per core"
        )
    return _generate(split_plan(seed), workers)


def _generate(plan: Plan, workers: int | None) -> Iterator[Picture]:
    heads: list[tuple[str, str, str, str, str]] = []
    jobs: list[tuple[Garment, int | None, int]] = []
    for split, photo_ids in plan.photos.items():
        for i in photo_ids:
            heads.append((split, "photo", i, i, ""))
            jobs.append((plan.garments[i], None, plan.seed))
        for s in plan.sketches[split]:
            heads.append((split, "sketch", s.sketch_id, s.photo_id, s.tag))
            jobs.append((plan.garments[s.photo_id], s.designer, plan.seed))
    if workers == 0:
        yield from (Picture(*head, _draw(job)) for head, job in zip(heads, jobs, strict=True))
        return
    with get_context("spawn").Pool(workers) as pool:
        for head, pixels in zip(heads, pool.imap(_draw, jobs, chunksize=16), strict=True):
            yield Picture(*head, pixels)


def _draw(job: tuple[Garment, int | None, int]) -> UInt8[np.ndarray, "256 256 3"]:
    garment, designer, seed = job
    return draw_photo(garment) if designer is None else draw_sketch(garment, designer, seed)


def digest(pictures: Iterator[Picture]) -> str:
    """SHA-256 over split, role, id and pixels of the pictures in their order."""
    total = sha256()
    for picture in pictures:
        total.update(f"{picture.split} {picture.role} {picture.id}\n".encode())
        total.update(picture.pixels.tobytes())
    return total.hexdigest()
