"""Pairs that are mirrored together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.config import AugmentConfig
from effnet_jax.images.preprocessing import Preprocessing, normalise
from effnet_jax.stages.views import make_views

PIXELS = Preprocessing(image_size=10)
ROWS = 64


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    images = {f"{role}_10": rng.integers(0, 256, (ROWS, 10, 10, 3), np.uint8) for role in ("sketch", "photo")}
    return {**images, "position": np.arange(ROWS, dtype=np.uint32)}


def mirrored(batch, domain, probability, rows=slice(None)):
    """Which rows of a domain are mirrored; each must be the image or its mirror image."""
    config = AugmentConfig(sketch_views=("a0", "a0"), photo_views=("a0", "a0"), mirror_pairs=probability)
    batch = {name: value[rows] for name, value in batch.items()}
    views = jax.jit(make_views(config, PIXELS), static_argnums=(0, 3))
    plain = normalise(batch[f"{domain}_10"], PIXELS)
    told = []
    for got in views(domain, batch, jax.random.key(3, impl="threefry2x32"), (0, 1)):
        as_is = np.abs(got - plain).max((1, 2, 3)) < 1e-6
        turned = np.abs(got - plain[:, :, ::-1]).max((1, 2, 3)) < 1e-6
        assert (as_is ^ turned).all()
        told.append(turned)
    np.testing.assert_array_equal(*told)
    return told[0]


def test_a_sketch_and_its_photo_are_mirrored_alike_in_both_views(batch):
    sketches = mirrored(batch, "sketch", 0.5)
    np.testing.assert_array_equal(sketches, mirrored(batch, "photo", 0.5))
    assert 16 < sketches.sum() < 48


def test_it_depends_on_the_place_in_the_stream_alone(batch):
    whole = mirrored(batch, "photo", 0.5)
    np.testing.assert_array_equal(whole[40:], mirrored(batch, "photo", 0.5, slice(40, None)))


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0), (1.0, 1)])
def test_never_and_always(batch, probability, share):
    assert mirrored(batch, "sketch", probability).mean() == share


def test_another_sketch_takes_the_place_of_the_augmented_view_alone(batch):
    config = AugmentConfig(sketch_views=("a0", "a0"), photo_views=("a0", "a0"))
    batch = {name: jnp.asarray(rows) for name, rows in batch.items()}
    batch["other_10"] = batch["sketch_10"][::-1]
    views, key = make_views(config, PIXELS), jax.random.key(3, impl="threefry2x32")
    anchor, augmented = views("sketch", batch, key, (0, 1))
    np.testing.assert_allclose(anchor, normalise(batch["sketch_10"], PIXELS))
    np.testing.assert_allclose(augmented, normalise(batch["other_10"], PIXELS))
    for view in views("photo", batch, key, (0, 1)):
        np.testing.assert_allclose(view, normalise(batch["photo_10"], PIXELS))
