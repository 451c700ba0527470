import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from effnet_jax.images.clean_sketch import clean_sketch


def drawing(size=(200, 160), width=3, ink=(0, 0, 0)):
    """Strokes on white, without antialiasing."""
    image = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(image)
    w, h = size
    pen.line([(w * 0.2, h * 0.2), (w * 0.8, h * 0.3), (w * 0.6, h * 0.8), (w * 0.2, h * 0.2)], fill=ink, width=width)
    pen.ellipse([w * 0.3, h * 0.4, w * 0.5, h * 0.6], outline=ink, width=width)
    return np.asarray(image)


def photograph(sketch, seed, ink=(40, 45, 160), noise=3.0):
    """Coloured ink on tinted paper under light that falls off to one side, with noise."""
    rng = np.random.default_rng(seed)
    h, w = sketch.shape[:2]
    cover = 1 - sketch[:, :, :1] / 255
    paper = np.array([0.9, 0.87, 0.75])
    picture = paper * (1 - cover) + np.minimum(np.array(ink) / 255, paper) * cover
    x = np.linspace(0, 1, w)[None, :, None]
    picture = picture * (1 - 0.5 * x) * 255 + rng.normal(0, noise, (h, w, 3))
    return picture.clip(0, 255).astype(np.uint8)


def agreement(cleaned, sketch):
    """Intersection over union of dark pixels."""
    a, b = cleaned[:, :, 0] < 128, sketch[:, :, 0] < 128
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("ink", [(40, 45, 160), (190, 40, 45), (20, 20, 20), (20, 110, 50), (105, 105, 108)])
@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_strokes_of_any_ink_become_black_on_white(ink, noise):
    sketch = drawing()
    cleaned = clean_sketch(photograph(sketch, 0, ink, noise))
    assert cleaned.shape == sketch.shape
    assert cleaned.dtype == np.uint8
    assert (cleaned == cleaned[:, :, :1]).all()
    assert agreement(cleaned, sketch) > 0.9
    assert (cleaned[sketch[:, :, 0] == 255] == 255).mean() > 0.99  # paper is pure white
    assert np.median(cleaned[sketch[:, :, 0] == 0]) < 30


def test_a_soft_shadow_leaves_no_trace():
    sketch = drawing((400, 320))
    picture = photograph(sketch, 1, noise=2.0).astype(float)
    x = np.linspace(-1, 1, 400)
    picture *= (1 - 0.35 / (1 + np.exp(-(x - 0.1) / 0.05)))[None, :, None]
    cleaned = clean_sketch(picture.astype(np.uint8))
    assert agreement(cleaned, sketch) > 0.85
    far = np.asarray(Image.fromarray(sketch).convert("L").resize((40, 32), Image.Resampling.BOX)) == 255
    blocks = np.asarray(Image.fromarray(cleaned).convert("L").resize((40, 32), Image.Resampling.BOX))
    assert (blocks[far] > 250).mean() > 0.99


def test_filled_areas_stay_filled():
    image = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(image).ellipse([110, 120, 145, 155], fill="black")
    ImageDraw.Draw(image).line([(30, 30), (270, 260)], fill="black", width=4)
    sketch = np.asarray(image)
    assert agreement(clean_sketch(photograph(sketch, 2)), sketch) > 0.9


@pytest.mark.parametrize("grey", [0, 90, 150])
def test_a_drawing_that_is_clean_comes_back_as_it_was(grey):
    sketch = np.array(Image.fromarray(drawing((400, 320), 5, (grey,) * 3)).resize((200, 160), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(clean_sketch(sketch), sketch)


def test_coloured_ink_on_pure_white_becomes_black():
    sketch = drawing(ink=(200, 30, 30))
    cleaned = clean_sketch(sketch)
    assert agreement(cleaned, drawing()) > 0.95


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.integers(60, 255), st.floats(0, 6))
def test_an_empty_sheet_is_white(seed, grey, noise):
    picture = np.full((90, 120, 3), float(grey)) + np.random.default_rng(seed).normal(0, noise, (90, 120, 3))
    cleaned = clean_sketch(picture.clip(0, 255).astype(np.uint8))
    assert (cleaned > 250).mean() > 0.995


def test_dust_is_dropped_and_strokes_stay():
    sketch = drawing((400, 320))
    dusty = photograph(sketch, 3)
    rng = np.random.default_rng(0)
    for y, x in rng.integers(0, (318, 398), (40, 2)):
        dusty[y : y + 2, x : x + 1] = 20
    cleaned = clean_sketch(dusty)
    assert agreement(cleaned, sketch) > 0.85


def test_a_large_photograph_comes_back_at_a_thousand_pixels():
    sketch = drawing((2000, 1600), 20)
    cleaned = clean_sketch(photograph(sketch, 4, noise=8.0))
    assert cleaned.shape == (800, 1000, 3)
    assert agreement(cleaned, np.asarray(Image.fromarray(sketch).resize((1000, 800), Image.Resampling.BOX))) > 0.9
    assert clean_sketch(sketch) is sketch


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (3, 2)])
def test_tiny_pictures_pass(shape):
    assert clean_sketch(np.full((*shape, 3), 180, np.uint8)).shape == (*shape, 3)
