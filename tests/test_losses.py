import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax import Encoding, alignment_loss, info_nce
from effnet_jax.config import LossConfig
from effnet_jax.losses import TERMS, pair_cross_entropy, unit_norm


def draw(seed, b, d):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((2, b, d)), jnp.float32)


def by_hand(first, second, temperature, groups):
    """The definition, one row at a time, in float64."""
    z = np.concatenate([first, second]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    b = len(first)
    total = 0.0
    for i in range(2 * b):
        partner = (i + b) % (2 * b)
        others = [k for k in range(2 * b) if k != i and (k == partner or groups[k % b] != groups[i % b])]
        total -= z[i] @ z[partner] / temperature - np.log(sum(np.exp(z[i] @ z[k] / temperature) for k in others))
    return total / (2 * b)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(1, 12), st.floats(0.05, 1.0), st.data())
def test_equals_the_definition_with_any_groups(seed, b, d, temperature, data):
    first, second = draw(seed, b, d)
    groups = data.draw(st.lists(st.integers(0, 3), min_size=b, max_size=b))
    got = info_nce(first, second, temperature, jnp.asarray(groups))
    assert np.isclose(got, by_hand(first, second, temperature, groups), rtol=2e-5, atol=2e-5)


def test_distinct_groups_change_nothing_and_equal_ones_leave_no_negatives():
    first, second = draw(0, 6, 8)
    assert info_nce(first, second, 0.07, jnp.arange(6)) == info_nce(first, second, 0.07)
    loss, gradient = jax.value_and_grad(lambda f: info_nce(f, second, 0.07, jnp.zeros(6, int)))(first)
    assert loss == 0
    assert not np.any(gradient)


def test_two_sketches_of_one_photo_do_not_repel_each_other():
    same = jnp.eye(4, 8)[jnp.array([0, 0, 1, 2])]  # pairs 0 and 1 share photo and drawing
    apart = info_nce(same, same, 0.07, jnp.array([0, 0, 1, 2]))
    repelled = info_nce(same, same, 0.07)
    assert apart < 1e-4
    assert repelled > 0.5


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 8), st.randoms())
def test_order_of_the_batch_does_not_matter(seed, b, random):
    first, second = draw(seed, b, 5)
    order = list(range(b))
    random.shuffle(order)
    groups = jnp.asarray([i // 2 for i in range(b)])
    a = info_nce(first, second, 0.07, groups)
    assert np.isclose(
        a,
        info_nce(first[jnp.asarray(order)], second[jnp.asarray(order)], 0.07, groups[jnp.asarray(order)]),
        rtol=1e-5,
        atol=1e-5,
    )


def test_zero_rows_have_finite_gradients():
    gradient = jax.grad(lambda x: jnp.sum(unit_norm(x)))(jnp.zeros((2, 3)))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [1e6, 4e12, 1e18, 1e20, 1e30])
def test_large_rows_have_the_value_and_the_gradient_of_small_ones(scale):
    first, second = draw(3, 5, 16)
    first = jnp.concatenate([first, jnp.zeros((1, 16))])  # a zero row beside them
    second = jnp.concatenate([second, second[:1]])
    value_and_grad = jax.jit(jax.value_and_grad(info_nce, argnums=(0, 1)))
    loss, gradients = value_and_grad(first, second)
    large_loss, large_gradients = value_and_grad(first * scale, second * scale)
    assert np.isclose(large_loss, loss, rtol=1e-6)
    for small, large in zip(gradients, large_gradients, strict=True):
        np.testing.assert_allclose(large[:5] * np.float64(scale), small[:5], atol=1e-6)
    assert np.isfinite(large_gradients[0]).all()
    np.testing.assert_allclose(jnp.linalg.norm(unit_norm(first[:5] * scale), axis=1), 1, rtol=1e-6)


def test_the_default_temperature_is_the_papers():
    first, second = jnp.eye(2), jnp.eye(2)[::-1]  # the partner at a right angle, one negative alike, the other not
    by_hand = np.log(2 + np.exp(1 / 0.07))  # 14.285716
    assert np.isclose(info_nce(first, second), by_hand, rtol=1e-6)
    assert np.isclose(pair_cross_entropy(first[::-1]), np.log(1 + np.exp(1 / 0.07)), rtol=1e-6)
    views = [Encoding(jnp.zeros((2, 1, 2)), rows, rows) for rows in (first, second, second, first)]
    _, terms = alignment_loss(*views, config=LossConfig(), photo_index=jnp.arange(2))
    np.testing.assert_allclose(list(terms.values()), by_hand, rtol=1e-6)


def test_temperature_scales_similarities_whatever_the_input_dtype():
    first, second = draw(2, 5, 16)
    half = info_nce(first.astype(jnp.bfloat16), second.astype(jnp.bfloat16), 0.07)
    assert half.dtype == jnp.float32
    assert abs(float(half) - float(info_nce(first, second, 0.07))) < 0.2


def encodings(seed, b):
    rng = np.random.default_rng(seed)
    return [
        Encoding(*(jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((b, 3, 6), (b, 6), (b, 4))))
        for _ in range(4)
    ]


def test_weights_pick_terms():
    views = encodings(0, 5)
    photo_index = jnp.arange(5)
    total, terms = alignment_loss(*views, config=LossConfig(), photo_index=photo_index)
    assert set(terms) == set(TERMS)
    assert np.isclose(total, sum(terms.values()))
    for name in TERMS:
        config = LossConfig(**{t: 2.0 * (t == name) for t in TERMS})
        assert np.isclose(alignment_loss(*views, config=config, photo_index=photo_index)[0], 2 * terms[name])


def test_the_mask_needs_the_photos():
    with pytest.raises(ValueError, match="photo_index"):
        alignment_loss(*encodings(0, 3), config=LossConfig())


@pytest.mark.usefixtures("unchecked")
def test_empty_and_unequal_batches_are_refused_with_their_shapes():
    first, second = draw(0, 3, 4)
    with pytest.raises(ValueError, match=r"at least one pair.* first \(0, 4\), second \(0, 4\)"):
        info_nce(first[:0], second[:0])
    for other in (second[:2], second[:, :3]):
        with pytest.raises(ValueError, match=r"rows of one shape.* first \(3, 4\)"):
            info_nce(first, other)
    with pytest.raises(ValueError, match=r"one group per pair.* groups \(2,\)"):
        info_nce(first, second, 0.07, jnp.arange(2), block_pairs=1)
    with pytest.raises(ValueError, match=r"scores \(0, 0\), groups None"):
        pair_cross_entropy(jnp.zeros((0, 0)))
    with pytest.raises(ValueError, match=r"as many photos.* scores \(3, 4\)"):
        pair_cross_entropy(first)
    with pytest.raises(ValueError, match=r"scores \(3, 3\), groups \(1,\)"):
        pair_cross_entropy(jnp.eye(3), groups=jnp.zeros(1, int))
    views = encodings(0, 3)
    for changed, photo_index in ((encodings(0, 2)[:2], 3), (views[:2], 2)):
        with pytest.raises(ValueError, match="at least one pair, rows of one shape, and one group per pair"):
            alignment_loss(changed[0], views[1], *views[2:], config=LossConfig(), photo_index=jnp.arange(photo_index))
