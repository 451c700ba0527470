import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfds_builders.procedural_garments.garments.geometry import (
    OVERSAMPLING,
    SIZE,
    arc,
    circle,
    fill,
    line,
    mirror,
    resample,
    spline,
    stamp,
    turn,
    wander,
    window,
)

SQUARE = line((10, 20), (40, 20), (40, 50), (10, 50))


def test_fill_is_exact_on_whole_pixels():
    mask = fill([SQUARE])
    assert mask.shape == (SIZE, SIZE)
    assert (mask[20:50, 10:40] == 255).all()
    assert int(mask.astype(int).sum()) == 255 * 30 * 30


def test_fill_leaves_holes_by_the_even_odd_rule():
    mask = fill([SQUARE, line((20, 30), (30, 30), (30, 40), (20, 40))])
    assert (mask[30:40, 20:30] == 0).all()
    assert int(mask.astype(int).sum()) == 255 * (900 - 100)


@given(st.lists(st.tuples(st.floats(-40, 300), st.floats(-40, 300)), min_size=3, max_size=9))
def test_fill_of_a_part_is_the_part_of_the_fill(points):
    polygon = line(*points)
    for area in ((0, 0, 30, 30), (100, 60, 190, 222), window(polygon, 3)):
        x0, y0, x1, y1 = area
        np.testing.assert_array_equal(fill([polygon], area), fill([polygon])[y0:y1, x0:x1])


def test_a_filled_circle_has_the_area_of_its_polygon():
    ring = circle((128.3, 127.1), 50)
    x, y = ring[:-1].T
    polygon = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2
    assert polygon == pytest.approx(np.pi * 50**2, rel=0.02)  # the polygon lies inside the circle
    assert fill([ring]).astype(int).sum() / 255 == pytest.approx(polygon, rel=1e-3)


def test_curves_start_and_end_where_they_should():
    for curve in (arc((1, 2), (9, 4), 0.3), spline((1, 2), (5, 5), (9, 4))):
        np.testing.assert_allclose(curve[[0, -1]], [(1, 2), (9, 4)])
    assert arc((0, 0), (10, 0), 0.2)[7, 1] == pytest.approx(-2)  # left of the way to the right is up
    np.testing.assert_array_equal(mirror(line((3, 1))), [(-3, 1)])


def test_turn_keeps_lengths_and_turns_by_twice_the_half_angle():
    turned = turn(line((2, 0)), np.tan(np.pi / 12), (1, 0))
    np.testing.assert_allclose(turned, [(1 + np.cos(np.pi / 6), np.sin(np.pi / 6))])


def test_resample_has_equal_steps():
    points, at = resample(spline((0, 0), (30, 10), (10, 60)), 0.5)
    steps = np.hypot(*np.diff(points, axis=0).T)
    assert steps.max() < 0.51
    assert np.allclose(np.diff(at), at[1])


def test_stamp_keeps_the_darker_ink_and_stays_on_the_canvas():
    canvas = np.zeros((20 * OVERSAMPLING, 30 * OVERSAMPLING), dtype=np.uint8)
    stamp(canvas, line((10, 10), (29.9, 10), (-4, 5)), 2.0, 200)
    stamp(canvas, line((10, 10)), 2.0, 100)
    assert set(np.unique(canvas)) == {0, 200}
    assert canvas.astype(bool).sum() / OVERSAMPLING**2 == pytest.approx(np.pi * 4, rel=0.1)


def test_wander_is_bounded_and_smooth():
    at = np.arange(400) * 0.25
    path = wander(np.random.default_rng(0), at, 20.0, 2)
    assert path.shape == (400, 2)
    assert np.abs(path).max() <= 1
    assert np.abs(np.diff(path, axis=0)).max() < 0.05
