"""MSTR as meant: windows, attention over tokens, a symmetric target; nothing depends on the batch."""

import jax
import numpy as np
import pytest
from flax import nnx

from effnet_jax.models.mstr import MSTR, overlap_target, published_target


@pytest.fixture(scope="module")
def mstr():
    return MSTR(48, 14, hidden=16, rngs=nnx.Rngs(0))


@nnx.jit
def call(mstr, x, keys=None):
    return mstr(x, keys)


def tokens(b=3, seed=0):
    return jax.random.normal(jax.random.key(seed), (b, 197, 48))


def test_nothing_depends_on_the_batch(mstr):
    x = tokens()
    final, decorrelation = call(mstr, x)
    for i in range(3):
        alone, own = call(mstr, x[i : i + 1])
        np.testing.assert_allclose(alone[0], final[i], atol=1e-5)
        np.testing.assert_allclose(own[0], decorrelation[i], atol=1e-6)


def test_windows_are_squares_of_patches(mstr):
    """A change in one patch reaches the window that holds it before attention mixes: seen with attention cut off."""
    graphdef, state = nnx.split(mstr, nnx.Param)
    flat = nnx.to_pure_dict(state)
    for layers in flat["transformers"].values():
        for layer in layers.values():
            for name in ("proj", "fc2"):
                layer[name] = jax.tree.map(lambda x: 0 * x, layer[name])
    cut = nnx.merge(graphdef, flat)
    x = tokens(1)
    row, column = 5, 9
    changed = x.at[0, 1 + row * 14 + column].add(1.0 + np.arange(48))
    for edge, before, after in zip((14, 7, 2), cut.recycle(x[:, 1:]), cut.recycle(changed[:, 1:]), strict=True):
        scale = 14 // edge
        moved = np.flatnonzero(np.abs(after - before).max(axis=(0, 2)) > 1e-4)
        np.testing.assert_array_equal(moved, [row // scale * edge + column // scale])


def test_the_target_is_symmetric_and_counts_overlaps():
    target = overlap_target(14)
    np.testing.assert_array_equal(target, target.T)
    np.testing.assert_array_equal(np.diag(target), np.ones(249))
    assert np.count_nonzero(published_target(14) != published_target(14).T) == 110
    fine, middle, coarse = slice(0, 196), slice(196, 245), slice(245, 249)
    np.testing.assert_array_equal(target[middle, fine].sum(axis=1), np.full(49, 4 * 0.5))
    np.testing.assert_array_equal(target[coarse, fine].sum(axis=1), np.full(4, 49 * 0.5))
    # each 2 x 2 window gives its half to the four large windows together, by the share that lies in each
    np.testing.assert_allclose(target[coarse, middle].sum(axis=0), np.full(49, 0.5))
    assert set(np.unique(target[coarse, middle])) == {0.0, 0.125, 0.25, 0.5}


def test_dropout_belongs_to_the_row_and_is_off_without_keys(mstr):
    x, keys = tokens(), jax.random.split(jax.random.key(1), 3)
    dropped, plain = call(mstr, x, keys)[0], call(mstr, x)[0]
    assert np.abs(dropped - plain).max() > 1e-4
    np.testing.assert_allclose(call(mstr, x[1:], keys[1:])[0], dropped[1:], atol=1e-5)


def test_every_norm_has_the_epsilon_of_the_original(mstr):
    norms = [module for _, module in nnx.iter_modules(mstr) if isinstance(module, nnx.LayerNorm)]
    assert [norm.epsilon for norm in norms] == [1e-5] * 12


def test_grids_and_widths_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match=r"16 x 16 patches must be a multiple of 14"):
        MSTR(48, 16, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="one of 14 x 14 patches only, not of 28 x 28"):
        MSTR(48, 28, as_published=True, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="width 64 must be a multiple of 8 heads and of 48 channels"):
        MSTR(64, 14, rngs=nnx.Rngs(0))
