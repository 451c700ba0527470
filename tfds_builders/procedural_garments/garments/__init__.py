"""Procedural garments: a generated stand-in with the shape of Clothes-V1.

500 photos and 1200 sketches by seven designers of differing hands; 380 photos with 925 sketches are for training, 120
photos with 275 sketches, of garments never seen in training, for testing. Some garments differ from another one in
details only. Everything is a function of the seed, pixel for pixel.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import UInt8

from tfds_builders.procedural_garments.garments.geometry import SIZE
from tfds_builders.procedural_garments.garments.parameters import draw_garment, vary
from tfds_builders.procedural_garments.garments.photo import draw_photo
from tfds_builders.procedural_garments.garments.plan import Plan, split_plan
from tfds_builders.procedural_garments.garments.sketch import NUM_DESIGNERS, draw_sketch

__all__ = [
    "GENERATOR_SHA256", "NUM_DESIGNERS", "SIZE", "GarmentSet", "Plan", "draw_garment", "draw_photo", "draw_sketch",
    "split_plan", "vary",
]  # fmt: skip

# Of all decoded pixels of seed 0 (`digest` in the tests): the generator is settled, and a change of any pixel is a new
# data set.
GENERATOR_SHA256 = "89cbe70776fd2270c7c771f2caef6d778ad22900e48bc70db60e3248186023e5"


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
