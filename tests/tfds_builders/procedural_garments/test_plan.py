from collections import Counter
from dataclasses import fields

import pytest

from tfds_builders.procedural_garments.garments import NUM_DESIGNERS, split_plan


@pytest.fixture(scope="module")
def plan():
    return split_plan(0)


def test_shape_of_clothes_v1(plan):
    assert {name: len(ids) for name, ids in plan.photos.items()} == {"train": 380, "test": 120}
    assert {name: len(made) for name, made in plan.sketches.items()} == {"train": 925, "test": 275}
    assert list(plan.garments) == [f"{k:05d}" for k in range(1, 501)]


def test_splits_share_no_garment(plan):
    train, test = set(plan.photos["train"]), set(plan.photos["test"])
    assert not train & test
    assert train | test == set(plan.garments)
    for name, ids in plan.photos.items():
        assert {s.photo_id for s in plan.sketches[name]} == set(ids)  # at least one sketch each, none of another split


def test_sketch_ids_and_order(plan):
    for made in plan.sketches.values():
        ids = [s.sketch_id for s in made]
        assert ids == sorted(set(ids))
        assert all(s.sketch_id == f"{s.photo_id}_{s.tag}" for s in made)
    for ids in plan.photos.values():
        assert list(ids) == sorted(ids)
    tags = Counter(s.tag for made in plan.sketches.values() for s in made)
    assert set(tags) == {f"0{k}" for k in range(1, NUM_DESIGNERS + 1)}
    assert min(tags.values()) > 120


def test_both_splits_hold_near_duplicates(plan):
    for ids in plan.photos.values():
        garments = [plan.garments[i] for i in ids]
        bodies = Counter((g.kind, g.shoulder, g.chest, g.waist, g.length, g.colours) for g in garments)
        assert 5 <= sum(n > 1 for n in bodies.values()) <= 0.2 * len(ids)
        looks = [tuple(getattr(g, f.name) for f in fields(g) if f.name != "seed") for g in garments]
        assert len(set(looks)) == len(looks)


def test_same_seed_same_plan_and_other_seed_another():
    assert split_plan(3) == split_plan(3)
    assert split_plan(3).garments != split_plan(4).garments


def test_finds_a_sketch_by_its_id(plan):
    planned = plan.sketches["test"][7]
    assert plan.sketch(planned.sketch_id) is planned
    with pytest.raises(KeyError, match="no sketch '00001_77'"):
        plan.sketch("00001_77")


@pytest.mark.parametrize("sketches", [379, 380 * 7 + 1])
def test_refuses_impossible_counts(sketches):
    with pytest.raises(ValueError, match=f"{sketches} train sketches of 380 photos"):
        split_plan(0, train_sketches=sketches)
