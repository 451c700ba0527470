import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.config import AugmentConfig
from effnet_jax.images.augment import VIEWS, augment, row_keys, source_size
from effnet_jax.images.preprocessing import Preprocessing, normalise

SIZE = 20
SMALL = Preprocessing(image_size=SIZE)
KEY = jax.random.key(7)
view_of = jax.jit(augment, static_argnums=(0, 3, 4))


def images(count, view="a1", seed=0):
    edge = source_size(view, SIZE)
    return np.random.default_rng(seed).integers(0, 256, (count, edge, edge, 3), np.uint8)


def positions(count, start=0):
    return jnp.arange(start, start + count, dtype=jnp.uint32)


def test_a0_is_the_image():
    source = images(3, "a0")
    got = view_of("a0", source, row_keys(KEY, positions(3), 0), SMALL, AugmentConfig())
    np.testing.assert_allclose(got, source / 255, atol=1e-6)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", (16, 96, 224))
def test_views_have_the_encoders_shape_and_scaling(view, size):
    edge = source_size(view, size)
    source = np.random.default_rng(0).integers(0, 256, (2, edge, edge, 3), np.uint8)
    keys = row_keys(KEY, positions(2), 0)
    plain = view_of(view, source, keys, Preprocessing(image_size=size), AugmentConfig())
    half = Preprocessing(image_size=size, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.1))
    scaled = view_of(view, source, keys, half, AugmentConfig())
    assert plain.shape == (2, size, size, 3) and plain.dtype == jnp.float32
    assert plain.min() >= 0 and plain.max() <= 1
    np.testing.assert_allclose(scaled, (plain - jnp.asarray(half.mean)) / jnp.asarray(half.std), atol=1e-5)


@pytest.mark.parametrize("view", ("a1", "a2"))
def test_a_row_does_not_depend_on_its_batch(view):
    source, options = images(12, view), AugmentConfig()
    tolerance = 0 if view == "a1" else 1e-5  # the draws are the same; float32 rounding differs between programs
    together = np.asarray(view_of(view, source, row_keys(KEY, positions(12, 50), 1), SMALL, options))
    for rows in (slice(0, 6), slice(6, 12), slice(4, 5)):  # two hosts; a batch of one
        alone = view_of(view, source[rows], row_keys(KEY, positions(12, 50)[rows], 1), SMALL, options)
        np.testing.assert_allclose(alone, together[rows], rtol=0, atol=tolerance)
    order = np.random.default_rng(0).permutation(12)
    shuffled = view_of(view, source[order], row_keys(KEY, positions(12, 50)[order], 1), SMALL, options)
    np.testing.assert_allclose(shuffled, together[order], rtol=0, atol=tolerance)


def test_keys_differ_between_positions_branches_and_roots():
    keys = [row_keys(root, positions(50), branch) for root in (KEY, jax.random.key(8)) for branch in (0, 1)]
    data = np.concatenate([jax.random.key_data(k) for k in keys])
    assert len(np.unique(data, axis=0)) == 200


def test_keys_of_the_last_positions_are_fine():
    last = jnp.asarray([2**32 - 1, 0], jnp.uint32)
    assert len(np.unique(jax.random.key_data(row_keys(KEY, last, 0)), axis=0)) == 2


def test_sketch_and_photo_draw_independently():
    source = np.repeat(images(1), 300, axis=0)
    options = AugmentConfig(max_angle=0.0, mirror=0.5)
    plain = normalise(source[0][2:22, 2:22], SMALL)
    flips = []
    for branch in (0, 1):
        views = np.asarray(view_of("a1", source, row_keys(KEY, positions(300), branch), SMALL, options))
        flips.append(np.isclose(views, plain, atol=1e-6).all(axis=(1, 2, 3)))
    assert 100 < flips[0].sum() < 200 and abs(np.corrcoef(*flips)[0, 1]) < 0.2


@pytest.mark.parametrize("mirror", (0.0, 0.8, 1.0))
def test_a1_mirrors_as_often_as_asked(mirror):
    count = 2000
    source = np.repeat(images(1), count, axis=0)
    options = AugmentConfig(max_angle=0.0, mirror=mirror)
    views = np.asarray(view_of("a1", source, row_keys(KEY, positions(count), 0), SMALL, options))
    plain = np.asarray(normalise(source[0][2:22, 2:22], SMALL))
    same = np.isclose(views, plain, atol=1e-6).all(axis=(1, 2, 3))
    flipped = np.isclose(views, plain[:, ::-1], atol=1e-6).all(axis=(1, 2, 3))
    assert (same | flipped).all()
    assert abs(flipped.mean() - mirror) < 0.03


def test_a1_turns_within_the_angle_and_fills_with_the_colour():
    source = np.full((400, 24, 24, 3), 100, np.uint8)
    keys = row_keys(KEY, positions(400), 0)
    corners = {}
    for angle in (5.0, 30.0):
        views = view_of("a1", source, keys, SMALL, AugmentConfig(fill=(255, 0, 128), max_angle=angle))
        levels = np.unique(np.round(np.asarray(views).reshape(-1, 3) * 255).astype(int), axis=0)
        assert {tuple(level) for level in levels} <= {(100, 100, 100), (255, 0, 128)}
        corners[angle] = float(np.mean(np.asarray(views)[..., 0] > 0.9))
    assert corners[5.0] == 0 < corners[30.0] < 0.05


def test_a1_turns_to_both_sides_alike():
    source = np.zeros((400, 24, 24, 3), np.uint8)
    source[:, 10:14, 16:20] = 255  # a square to the right of the centre
    views = view_of("a1", source, row_keys(KEY, positions(400), 0), SMALL, AugmentConfig(mirror=0.0))
    row, column = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    red = np.asarray(views)[..., 0]
    angles = np.degrees(np.arctan2((red * -row).sum((1, 2)), (red * column).sum((1, 2))))  # counter-clockwise
    assert -32 < angles.min() < -25 and 25 < angles.max() < 32
    assert 0.4 < (angles > 0).mean() < 0.6


def test_a2_varies_crop_and_colour():
    source = np.repeat(images(1, "a2"), 64, axis=0)
    views = np.asarray(view_of("a2", source, row_keys(KEY, positions(64), 0), SMALL, AugmentConfig()))
    assert np.isfinite(views).all()
    assert len(np.unique(views.mean(axis=(1, 2, 3)).round(6))) == 64
    quiet = AugmentConfig(crop_area=(1.0, 1.0), crop_ratio=(1.0, 1.0), crop_mirror=0.0, jitter=(0.0, 0.0, 0.0, 0.0))
    still = np.asarray(view_of("a2", source, row_keys(KEY, positions(64), 0), SMALL, quiet))
    np.testing.assert_allclose(still, still[:1].repeat(64, axis=0), atol=1e-6)


def test_wrong_source_sizes_and_views_are_refused():
    keys = row_keys(KEY, positions(2), 0)
    with pytest.raises(ValueError, match=r"View a1 at 20 pixels starts from .*\(24, 24, 3\).*got \(20, 20, 3\)"):
        augment("a1", jnp.asarray(images(2, "a0")), keys, SMALL, AugmentConfig())
    with pytest.raises(ValueError, match=r"'b0' is not known"):
        augment("b0", jnp.asarray(images(2)), keys, SMALL, AugmentConfig())


def test_generators_whose_numbers_depend_on_the_batch_are_refused():
    with pytest.raises(ValueError, match=r"rbg.*threefry2x32"):
        row_keys(jax.random.key(0, impl="rbg"), positions(2), 0)
