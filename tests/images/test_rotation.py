import functools

import jax
import numpy as np
import pytest
from PIL import Image

from effnet_jax.images.rotation import rotate_and_crop

rotate = jax.jit(rotate_and_crop, static_argnums=(3, 4))
SAME_PIXELS = 0.999


@functools.cache
def numbered(n):
    """An image whose pixels are all different, and none of which is a fill colour of these tests."""
    number = np.arange(n * n).reshape(n, n) + 65536
    return np.stack([number & 255, number >> 8 & 255, number >> 16], axis=-1).astype(np.uint8)


def by_pillow(image, angle, mirrored, size, fill):
    n = len(image)
    rotated = Image.fromarray(image).rotate(angle, Image.Resampling.NEAREST, fillcolor=fill)
    if mirrored:
        rotated = rotated.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    crop = round((n - size) / 2)
    return np.asarray(rotated)[crop : crop + size, crop : crop + size]


@pytest.mark.parametrize("fill", ((0, 0, 0), (255, 255, 255), (3, 250, 9)))
@pytest.mark.parametrize(("n", "size"), ((268, 224), (134, 112), (115, 96), (9, 8), (64, 64)))
def test_copies_the_source_pixels_of_pillow(n, size, fill):
    rng = np.random.default_rng(0)
    angles = np.float32([*rng.uniform(-30, 30, 60), *rng.uniform(-180, 180, 20), -30, 30, 0, 0.5, 45, 90, 180])
    shares = []
    for angle in angles:
        mirrored = bool(rng.integers(2))
        got = np.asarray(rotate(numbered(n), angle, mirrored, size, fill))
        same = np.all(got == by_pillow(numbered(n), float(angle), mirrored, size, fill), axis=-1)
        shares.append(same.mean())
    assert min(shares) >= SAME_PIXELS, f"{min(shares):.5f} at {angles[np.argmin(shares)]} degrees"


def test_right_angles_are_exact():
    image = numbered(32)
    np.testing.assert_array_equal(rotate(image, 0.0, False, 32), image)
    np.testing.assert_array_equal(rotate(image, 0.0, True, 32), image[:, ::-1])
    np.testing.assert_array_equal(rotate(image, 90.0, False, 32), np.rot90(image))
    np.testing.assert_array_equal(rotate(image, -180.0, False, 20), image[::-1, ::-1][6:26, 6:26])
