from dataclasses import replace

import numpy as np
import pytest

from tfds_builders.procedural_garments.garments import NUM_DESIGNERS, SIZE, draw_garment, draw_photo, draw_sketch
from tfds_builders.procedural_garments.garments.parameters import KINDS
from tfds_builders.procedural_garments.garments.patterns import PATTERNS


@pytest.mark.parametrize("kind", KINDS)
def test_photo_and_sketch_of_every_kind(kind):
    garment = draw_garment(np.random.default_rng(5), kind)
    photo, sketch = draw_photo(garment), draw_sketch(garment, 0, 0)
    for picture in (photo, sketch):
        assert picture.shape == (SIZE, SIZE, 3)
        assert picture.dtype == np.uint8
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert border.mean() > 245  # white around the garment
    assert (sketch[:, :, 0] == sketch[:, :, 1]).all() and (sketch[:, :, 0] == sketch[:, :, 2]).all()
    assert 0.005 < (sketch[:, :, 0] < 128).mean() < 0.25  # strokes, no fill
    assert (photo.min(axis=2) < 235).mean() > 0.08  # filled


def test_same_again_and_another_attempt_differs():
    garment = draw_garment(np.random.default_rng(1))
    np.testing.assert_array_equal(draw_photo(garment), draw_photo(garment))
    np.testing.assert_array_equal(draw_sketch(garment, 3, 8), draw_sketch(garment, 3, 8))
    assert (draw_sketch(garment, 3, 8) != draw_sketch(garment, 3, 9)).any()


def test_designers_have_differing_hands():
    garment = draw_garment(np.random.default_rng(1), "dress")
    ink = [255 - draw_sketch(garment, k, 0)[:, :, 0].astype(float) for k in range(NUM_DESIGNERS)]
    assert len({float(i.sum()) for i in ink}) == NUM_DESIGNERS
    assert max(i.mean() for i in ink) > 1.3 * min(i.mean() for i in ink)


@pytest.mark.parametrize("name", [n for n in PATTERNS])
def test_patterns_show_in_photo_and_sketch(name):
    plain = replace(draw_garment(np.random.default_rng(2), "top"), pattern="plain", print="none", panel="none")
    patterned = replace(plain, pattern=name, pattern_size=8.0)
    assert (draw_photo(plain).astype(int) - draw_photo(patterned)).any(axis=2).mean() > 0.01
    assert draw_sketch(patterned, 0, 0).mean() < draw_sketch(plain, 0, 0).mean() - 0.5


@pytest.mark.parametrize("designer", [-1, 7])
def test_refuses_an_unknown_designer(designer):
    with pytest.raises(ValueError, match=f"designer={designer}: choose 0 to 6"):
        draw_sketch(draw_garment(np.random.default_rng(0)), designer, 0)
