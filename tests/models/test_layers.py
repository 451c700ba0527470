import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from effnet_jax.models.layers import gelu

POINTS = np.linspace(-14, 14, 40001)


def exact(x):
    below = 0.5 * scipy.special.erfc(-x / np.sqrt(2))
    return x * below, below + x * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)


def test_gelu_is_exact_to_rounding_in_value_and_derivative():
    x = jnp.asarray(POINTS, jnp.float32)
    value, derivative = exact(np.asarray(x, np.float64))
    got, slope = jax.jit(jax.vmap(jax.value_and_grad(gelu)))(x)
    assert np.max(np.abs(got - value) / np.maximum(1, np.abs(POINTS))) < 3e-7
    assert np.max(np.abs(slope - derivative)) < 5e-7
    with jax.enable_x64():
        value, derivative = exact(POINTS)
        got, slope = jax.vmap(jax.value_and_grad(gelu))(jnp.asarray(POINTS))
        assert np.max(np.abs(got - value)) < 1e-14
        assert np.max(np.abs(slope - derivative)) < 1e-14


def test_bfloat16_rounds_once():
    x = jnp.asarray(np.linspace(-6, 6, 4001), jnp.bfloat16)
    value, derivative = exact(np.asarray(x, np.float64))
    got, slope = jax.vmap(jax.value_and_grad(gelu))(x)
    np.testing.assert_allclose(np.asarray(got, np.float64), value, rtol=2**-8, atol=1e-6)
    np.testing.assert_allclose(np.asarray(slope, np.float64), derivative, rtol=2**-8, atol=1e-6)


def test_gelu_keeps_the_compute_dtype_and_extremes_finite():
    assert gelu(jnp.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16
    ends = jnp.array([-jnp.finfo(jnp.float32).max, -1e4, 0.0, 1e4, 1e30])
    got, slope = jax.vmap(jax.value_and_grad(gelu))(ends)
    np.testing.assert_array_equal(got, np.float32([0, 0, 0, 1e4, 1e30]))
    assert np.isfinite(slope).all()
