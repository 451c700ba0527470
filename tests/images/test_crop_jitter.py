import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from effnet_jax.images.crop_jitter import draw_box, draw_jitter, jitter_colours, resized_crop

GREY_LEVEL = 1 / 255


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def boxes(count, n=268, area=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.vmap(lambda key: draw_box(key, n, area, ratio))(keys))


def test_boxes_lie_inside_and_have_the_area_and_ratio_asked_for():
    top, left, height, width = boxes(4000).T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 268).all() and (left + width <= 268).all()
    share, ratio = height * width / 268**2, width / height
    assert 0.07 < share.min() < 0.1 and share.max() > 0.95
    assert 0.73 < ratio.min() < 0.78 and 1.29 < ratio.max() < 1.36
    assert abs(np.log(ratio).mean()) < 0.01
    assert abs((top + height / 2).mean() - 134) < 2 and abs((left + width / 2).mean() - 134) < 2


def test_what_never_fits_takes_the_whole_image():
    assert (boxes(5, n=50, area=(1.0, 1.0), ratio=(2.0, 3.0)) == [0, 0, 50, 50]).all()


@pytest.mark.parametrize("mirrored", (False, True))
@pytest.mark.parametrize(
    "box", ((0, 0, 268, 268), (30, 51, 77, 103), (5, 9, 224, 224), (200, 3, 60, 265), (0, 0, 1, 1))
)
def test_crops_like_pillow(box, mirrored):
    image, (top, left, height, width) = noise(268), box
    part = Image.fromarray(image).crop((left, top, left + width, top + height))
    expected = np.asarray(part.resize((224, 224), Image.Resampling.BILINEAR)) / 255
    got = resized_crop(jnp.asarray(image), jnp.asarray(box), jnp.asarray(mirrored), 224)
    np.testing.assert_allclose(got, expected[:, ::-1] if mirrored else expected, atol=1.01 * GREY_LEVEL)


def test_strong_reductions_keep_their_antialiasing():
    image = noise(100)
    expected = np.asarray(Image.fromarray(image).resize((17, 17), Image.Resampling.BILINEAR)) / 255
    got = resized_crop(jnp.asarray(image), jnp.asarray([0, 0, 100, 100]), jnp.asarray(False), 17)
    np.testing.assert_allclose(got, expected, atol=1.01 * GREY_LEVEL)


def jitter(image, factors=(1.0, 1.0, 1.0), turn=0.0, order=(0, 1, 2), hue_place=3):
    arguments = (jnp.asarray(order), jnp.asarray(hue_place), jnp.asarray(factors), jnp.asarray(turn))
    return np.asarray(jitter_colours(jnp.asarray(image / 255, jnp.float32), *arguments))


@pytest.mark.parametrize("factor", (0.6, 0.9, 1.3))
@pytest.mark.parametrize("kind", range(3))
def test_factors_do_what_pillow_does(kind, factor):
    image, enhance = noise(24), (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[kind]
    expected = np.asarray(enhance(Image.fromarray(image)).enhance(factor)) / 255
    factors = np.where(np.arange(3) == kind, factor, 1.0)
    np.testing.assert_allclose(jitter(image, factors), expected, atol=1.5 * GREY_LEVEL)


@pytest.mark.parametrize("turn", (-0.1, 0.03, 0.5))
def test_hue_turns_as_in_hsv(turn):
    image = np.concatenate([noise(12), np.full((12, 12, 3), 40, np.uint8)])  # grey has no hue
    got = jitter(image, turn=turn)
    for pixel, result in zip((image / 255).reshape(-1, 3), got.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        np.testing.assert_allclose(result, colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value), atol=1e-5)


def test_steps_come_in_the_order_drawn():
    image, factors, turn = noise(10), (1.4, 0.6, 1.3), 0.1

    def step(kind, pixels):
        if kind == 3:
            return jitter(255 * pixels, turn=turn)
        return jitter(255 * pixels, np.where(np.arange(3) == kind, factors, 1.0))

    for order, hue_place in (((0, 1, 2), 0), ((2, 0, 1), 1), ((1, 2, 0), 3)):
        expected = image / 255
        for kind in (*order[:hue_place], 3, *order[hue_place:]):
            expected = step(kind, expected)
        np.testing.assert_allclose(jitter(image, factors, turn, order, hue_place), expected, atol=1e-5)


def test_draws_cover_their_ranges_and_every_order():
    keys = jax.random.split(jax.random.key(1), 3000)
    order, place, factors, turn = map(np.asarray, jax.vmap(lambda key: draw_jitter(key, (0.4, 0.2, 0.0, 0.1)))(keys))
    found, counts = np.unique(np.column_stack([order, place]), axis=0, return_counts=True)
    assert len(found) == 24 and counts.min() > 80
    np.testing.assert_allclose(factors.min(0), [0.6, 0.8, 1.0], atol=0.01)
    np.testing.assert_allclose(factors.max(0), [1.4, 1.2, 1.0], atol=0.01)
    assert -0.1 <= turn.min() < -0.099 and 0.099 < turn.max() <= 0.1
