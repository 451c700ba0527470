"""Depthwise convolution, fast on CPU too.

XLA's grouped convolution on CPU takes some ten to thirty times as long as the sum of shifted products that it is
(7x7, 96 channels, 56x56: 0.15 s against 0.005 s on two cores), so there it is written as that sum.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_vjp
def depthwise(x: Float[Array, "b i j d"], kernel: Float[Array, "k k d"]) -> Float[Array, "b i j d"]:
    """Convolve each channel with its own kernel, zero-padded to the same size; square odd kernels.

    Example:
        >>> depthwise(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1)))[0, :, :, 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_shifted_sum, default=_grouped)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return depthwise(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved
    to_x = jax.lax.platform_dependent(gradient, kernel[::-1, ::-1], cpu=_shifted_sum, default=_grouped)
    to_kernel = jax.lax.platform_dependent(x, gradient, kernel, cpu=_kernel_by_shifts, default=_kernel_by_grouped)
    return to_x, to_kernel


depthwise.defvjp(_forward, _backward)


def _grouped(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _kernel_by_grouped(x: Array, gradient: Array, kernel: Array) -> Array:
    return jax.vjp(lambda k: _grouped(x, k), kernel)[1](gradient)[0]


def _shifted_sum(x: Array, kernel: Array) -> Array:
    edge, (_, i, j, _) = kernel.shape[0], x.shape
    padded = _pad(x, edge)
    total = jnp.zeros_like(x)
    for u in range(edge):
        for v in range(edge):
            total = total + padded[:, u : u + i, v : v + j] * kernel[u, v]
    return total


def _kernel_by_shifts(x: Array, gradient: Array, kernel: Array) -> Array:
    edge = kernel.shape[0]
    padded = _pad(x, edge)

    def one(place: Array) -> Array:
        shifted = jax.lax.dynamic_slice(padded, (0, place // edge, place % edge, 0), gradient.shape)
        return jnp.einsum("bijd,bijd->d", shifted, gradient)

    return jax.lax.map(one, jnp.arange(edge**2)).reshape(kernel.shape)  # a loop: 49 reductions compile slowly


def _pad(x: Array, edge: int) -> Array:
    return jnp.pad(x, ((0, 0), (edge // 2, edge // 2), (edge // 2, edge // 2), (0, 0)))
