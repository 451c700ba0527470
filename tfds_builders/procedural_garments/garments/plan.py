"""Which garments there are, which designer draws which of them, and which are for testing."""

from dataclasses import dataclass
from itertools import chain

import numpy as np

from tfds_builders.procedural_garments.garments.parameters import Garment, draw_garment, vary
from tfds_builders.procedural_garments.garments.sketch import NUM_DESIGNERS

TWIN_SHARE = 0.1  # of the garments are near-duplicates of the one before them


@dataclass(frozen=True)
class PlannedSketch:
    """A sketch to be drawn: `designer` counts from 0, the tag of the id from 01."""

    sketch_id: str
    photo_id: str
    designer: int

    @property
    def tag(self) -> str:
        """Designer as the sketch id ends: "01" to "07"."""
        return f"{self.designer + 1:02d}"


@dataclass(frozen=True)
class Plan:
    """The whole set without a pixel; ids are in code point order within each split.

    Attributes:
        seed: of everything.
        garments: by photo id, in the order of all photos.
        photos: photo ids of "train" and "test".
        sketches: of "train" and "test".
    """

    seed: int
    garments: dict[str, Garment]
    photos: dict[str, tuple[str, ...]]
    sketches: dict[str, tuple[PlannedSketch, ...]]

    def sketch(self, sketch_id: str) -> PlannedSketch:
        """The planned sketch of this id; KeyError for an id that is not in the plan."""
        for planned in chain.from_iterable(self.sketches.values()):
            if planned.sketch_id == sketch_id:
                return planned
        raise KeyError(f"no sketch {sketch_id!r} in this plan; ids look like {next(iter(self.garments))}_01")


def split_plan(
    seed: int = 0,
    *,
    train_photos: int = 380,
    test_photos: int = 120,
    train_sketches: int = 925,
    test_sketches: int = 275,
) -> Plan:
    """Plan a set.

    Args:
        seed: of everything.
        train_photos: number of photos for training.
        test_photos: number of photos for testing.
        train_sketches: at least one per photo, at most one per photo and designer.
        test_sketches: as for training.

    Raises:
        ValueError: a number of sketches does not fit the number of photos.
    """
    counts = {"train": (train_photos, train_sketches), "test": (test_photos, test_sketches)}
    for name, (photos, sketches) in counts.items():
        if not photos <= sketches <= NUM_DESIGNERS * photos:
            raise ValueError(
                f"{sketches} {name} sketches of {photos} photos: choose between {photos} (one per photo) and "
                f"{NUM_DESIGNERS * photos} (every designer draws every photo)"
            )
    total = train_photos + test_photos
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0])))
    is_test = np.zeros(total, dtype=bool)
    is_test[rng.permutation(total)[:test_photos]] = True
    garments: dict[str, Garment] = {}
    latest: dict[bool, Garment] = {}
    for index in range(total):
        own = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 1, index])))
        test = bool(is_test[index])
        twin = own.random() < TWIN_SHARE and test in latest
        garments[f"{index + 1:05d}"] = latest[test] = vary(latest[test], own) if twin else draw_garment(own)
    ids = list(garments)
    photo_ids = {name: tuple(np.array(ids)[is_test == (name == "test")].tolist()) for name in counts}
    planned = {name: _assign(photo_ids[name], sketches, rng) for name, (_, sketches) in counts.items()}
    return Plan(seed, garments, photo_ids, planned)


def _assign(photo_ids: tuple[str, ...], count: int, rng: np.random.Generator) -> tuple[PlannedSketch, ...]:
    """One sketch for every photo, the rest spread at random over what is left."""
    drawn = np.zeros((len(photo_ids), NUM_DESIGNERS), dtype=bool)
    drawn[np.arange(len(photo_ids)), rng.integers(NUM_DESIGNERS, size=len(photo_ids))] = True
    free = np.flatnonzero(~drawn)
    drawn.ravel()[free[rng.permutation(len(free))[: count - len(photo_ids)]]] = True
    return tuple(
        PlannedSketch(f"{photo_ids[i]}_{designer + 1:02d}", photo_ids[i], int(designer))
        for i, designer in np.argwhere(drawn)
    )
