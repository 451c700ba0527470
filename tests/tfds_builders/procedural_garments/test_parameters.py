from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfds_builders.procedural_garments.garments import draw_garment, vary
from tfds_builders.procedural_garments.garments.assembly import assemble
from tfds_builders.procedural_garments.garments.parameters import KINDS, Garment


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_assembled(kind):
    for seed in range(12):
        garment = draw_garment(np.random.default_rng(seed), kind)
        assert garment.kind == kind
        low, high = assemble(garment).bounds()
        assert np.isfinite([low, high]).all()
        assert (high - low > 15).all() and (high - low < 230).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_near_duplicate_keeps_its_silhouette_and_changes_details(seed):
    rng = np.random.default_rng(seed)
    original = draw_garment(rng)
    twin = vary(original, rng)
    kept = {"kind", "shoulder", "chest", "waist", "hip", "hem", "length", "rise", "sleeve", "skirt", "colours"}
    changed = {f.name for f in fields(Garment) if getattr(original, f.name) != getattr(twin, f.name)} - {"seed"}
    assert 1 <= len(changed) <= 4
    assert not changed & kept


def test_refuses_an_unknown_kind():
    with pytest.raises(ValueError, match="kind='hat'"):
        Garment("hat")
