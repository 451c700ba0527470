import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.config import PenConfig
from effnet_jax.images.pseudo_sketch import CANVAS, can_be_drawn, draw_picture, draw_sketch, find_strokes, to_canvas

STILL = PenConfig(bend=(0.0, 0.0), tilt=0.0, stretch=0.0, shift=0.0, stroke_loss=(0.0, 0.0))  # lines stay at the edges


def square(low=64, high=192, colour=(0, 0, 0), paper=255):
    photo = np.full((CANVAS, CANVAS, 3), paper, np.uint8)
    photo[low:high, low:high] = colour
    return photo


def dark(drawing):
    return drawing[..., 0] < 128


def test_lines_lie_on_the_edges_of_the_photo():
    ink = dark(draw_sketch(square(), STILL, seed=(0,)))
    rows, columns = np.nonzero(ink)
    at_edge = np.minimum.reduce([abs(x - edge) for x in (rows, columns) for edge in (63.5, 191.5)])
    assert at_edge.max() <= 8
    assert ink[60:68, 80:176].any(axis=0).all(), "the upper side is drawn from end to end"
    assert ink[80:176, 188:196].any(axis=1).all(), "the right side is drawn from end to end"


def test_colours_of_one_brightness_are_told_apart():
    photo = square(colour=(200, 100, 150), paper=150)
    assert np.ptp(photo.astype(int).sum(-1)) == 0
    assert dark(draw_sketch(photo, STILL, seed=(0,))).mean() > 0.005


def test_a_drawing_is_black_on_white_and_grey_between():
    drawing = draw_sketch(square(), PenConfig(darkness=(1.0, 1.0)), seed=(1,))
    assert drawing.shape == (CANVAS, CANVAS, 3) and drawing.dtype == np.uint8
    assert (drawing[..., 0] == drawing[..., 1]).all() and (drawing[..., 0] == drawing[..., 2]).all()
    assert drawing.max() == 255 and drawing.min() < 64
    assert np.median(drawing) == 255


def test_a_light_pen_leaves_white_paper_and_grey_lines():
    light, dark_ = (draw_sketch(square(), PenConfig(darkness=(d, d)), seed=(1,)).astype(int) for d in (0.25, 1.0))
    np.testing.assert_allclose(255 - light, 0.25 * (255 - dark_), atol=1)


def test_the_seed_decides_and_nothing_else():
    photo = square()
    first, again, other = (draw_sketch(photo, PenConfig(), seed) for seed in ((3, 5, 0), (3, 5, 0), (3, 5, 1)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.005


@settings(max_examples=20, deadline=None)
@given(bend=st.floats(0, 8), shift=st.floats(0, 20), thickness=st.floats(0.3, 3), seed=st.integers(0, 1000))
def test_any_pen_gives_a_drawing(bend, shift, thickness, seed):
    pen = dataclasses.replace(PenConfig(), bend=(bend, bend), shift=shift, thickness=(thickness, thickness))
    drawing = draw_sketch(square(), pen, (seed,))
    assert 0 <= drawing.min() < drawing.max() == 255


def test_thickness_makes_lines_wider():
    thin, thick = (
        dark(draw_sketch(square(), dataclasses.replace(STILL, thickness=(width, width)), seed=(0,))).mean()
        for width in (0.5, 2.0)
    )
    assert thick > 1.5 * thin


def test_bending_moves_lines_without_losing_them():
    straight, bent = (
        dark(draw_sketch(square(), dataclasses.replace(STILL, bend=(b, b)), seed=(0,))) for b in (0.0, 4.0)
    )
    assert np.logical_and(straight, bent).sum() < 0.7 * straight.sum()
    assert 0.7 < bent.sum() / straight.sum() < 1.4


def test_short_strokes_are_left_out_and_long_ones_never_lost():
    photo = square()
    photo[20:24, 20:24] = 0  # an outline of a few pixels
    for seed in range(5):
        rng = np.random.default_rng(seed)
        strokes = find_strokes(photo, dataclasses.replace(PenConfig(), stroke_loss=(1.0, 1.0), longest_lost=60.0), rng)
        assert not strokes[:40, :40].any()
        assert strokes[55:72, 100:150].any(axis=0).all()


def test_losing_all_strokes_leaves_white_paper():
    pen = dataclasses.replace(PenConfig(), stroke_loss=(1.0, 1.0), longest_lost=1e9)
    assert (draw_sketch(square(), pen, (0,)) == 255).all()


@pytest.mark.parametrize(
    ("photo", "can"),
    [
        (square(), True),
        (np.full((CANVAS, CANVAS, 3), 200, np.uint8), False),
        (np.random.default_rng(0).integers(0, 256, (CANVAS, CANVAS, 3), np.uint8), False),
        (np.clip(np.random.default_rng(0).normal(200, 2, (CANVAS, CANVAS, 3)), 0, 255).astype(np.uint8), False),
    ],
    ids=["a square", "blank", "noise", "blank with sensor noise"],
)
def test_blank_and_noise_cannot_be_drawn(photo, can):
    assert can_be_drawn(photo, PenConfig()) == can


@pytest.mark.parametrize(("height", "width"), [(100, 100), (600, 300), (31, 999), (1, 5)])
def test_a_picture_keeps_the_shape_of_its_photo(height, width):
    photo = np.full((height, width, 3), 255, np.uint8)
    photo[height // 4 : height // 2, width // 4 : width // 2] = 0
    got = draw_picture(photo, PenConfig(), (0,)).shape
    assert min(got[:2]) == CANVAS and max(got[:2]) <= 4 * CANVAS
    if max(height, width) <= 4 * min(height, width):
        assert abs(got[0] * width - got[1] * height) <= max(height, width)


def test_the_canvas_keeps_a_picture_that_has_its_size():
    photo = np.random.default_rng(1).integers(0, 256, (CANVAS, CANVAS, 3), np.uint8)
    np.testing.assert_array_equal(to_canvas(photo), photo)
