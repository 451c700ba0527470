"""TRSM's attention: of all tokens, as the paper has it, and of the CLS row alone, which is all that is ever used.

One query per head lets both products with the tokens go through the weights first, so that no keys and values of all
tokens are needed: 2 n k d multiply-adds per map instead of 2 n d d, and the same numbers.
"""

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from effnet_jax.models.layers import linear

Tokens = Float[Array, "b n d"]


class IntraAttention(nnx.Module):
    """The linear layers of a picture's attention to itself; photos and sketches share them.

    Example:
        >>> IntraAttention(8, dtype=jnp.float32, rngs=nnx.Rngs(0)).query.kernel.shape
        (8, 8)
    """

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.query, self.key, self.value, self.out = (linear(width, width, dtype, rngs) for _ in range(4))


class InterAttention(nnx.Module):
    """The linear layers of one map, the photo's queries on the sketch's keys, that mixes the values of either stream.

    Example:
        >>> InterAttention(8, dtype=jnp.float32, rngs=nnx.Rngs(0)).photo_value.kernel.shape
        (8, 8)
    """

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.query, self.key = (linear(width, width, dtype, rngs) for _ in range(2))
        self.photo_value, self.sketch_value = (linear(width, width, dtype, rngs) for _ in range(2))
        self.photo_out, self.sketch_out = (linear(width, width, dtype, rngs) for _ in range(2))


def split_heads(x: Float[Array, "b n d"], heads: int) -> Float[Array, "b k n e"]:
    """Cut the width of all tokens into heads.

    Example:
        >>> split_heads(jnp.ones((1, 5, 8)), 2).shape
        (1, 2, 5, 4)
    """
    return rearrange(x, "b n (k e) -> b k n e", k=heads)


def full_map(query: Tokens, key: Tokens, heads: int) -> Float[Array, "b k n n"]:
    """Softmax of every query over all keys.

    Example:
        >>> full_map(jnp.zeros((1, 2, 4)), jnp.zeros((1, 2, 4)), 1).tolist()
        [[[[0.5, 0.5], [0.5, 0.5]]]]
    """
    query, key = split_heads(query, heads), split_heads(key, heads)
    logits = jnp.einsum("bkme,bkne->bkmn", query * query.shape[-1] ** -0.5, key, preferred_element_type=wide_dtype(key))
    return jax.nn.softmax(logits, axis=-1).astype(key.dtype)


def full_mix(weights: Float[Array, "b k n n"], value: Tokens) -> Tokens:
    """Mix the values of all tokens for every token.

    Example:
        >>> full_mix(jnp.full((1, 1, 2, 2), 0.5), jnp.array([[[2.0], [4.0]]])).tolist()
        [[[3.0], [3.0]]]
    """
    mixed = jnp.einsum("bkmn,bkne->bkme", weights, split_heads(value, weights.shape[1]))
    return rearrange(mixed, "b k m e -> b m (k e)")


def row_query(query: nnx.Linear, cls: Float[Array, "b d"], heads: int) -> Float[Array, "b k e"]:
    """Give the queries of the CLS tokens, scaled by e ** -0.5.

    Example:
        >>> row_query(linear(8, 8, jnp.float32, nnx.Rngs(0)), jnp.ones((3, 8)), 2).shape
        (3, 2, 4)
    """
    split = rearrange(query(cls), "b (k e) -> b k e", k=heads)
    return split * split.shape[-1] ** -0.5


def row_map(
    query: nnx.Linear, key: nnx.Linear, cls: Float[Array, "b d"], x: Tokens, heads: int
) -> Float[Array, "b k n"]:
    """Softmax of one query per head over all tokens; the keys' bias adds the same to all of them and drops out.

    Example:
        >>> query, key = (linear(8, 8, jnp.float32, nnx.Rngs(seed)) for seed in range(2))
        >>> row_map(query, key, jnp.ones((3, 8)), jnp.ones((3, 5, 8)), 2).shape
        (3, 2, 5)
    """
    folded = jnp.einsum("bke,dke->bkd", row_query(query, cls, heads), _kernel(key, x, heads))
    logits = jnp.einsum("bkd,bnd->bkn", folded, x, preferred_element_type=wide_dtype(x))
    return jax.nn.softmax(logits, axis=-1).astype(x.dtype)


def row_mix(value: nnx.Linear, weights: Float[Array, "b k n"], x: Tokens) -> Float[Array, "b d"]:
    """Mix the tokens, then take their values; the bias counts with the weights' sum, not one under dropout.

    Example:
        >>> row_mix(linear(8, 8, jnp.float32, nnx.Rngs(0)), jnp.ones((3, 2, 5)) / 5, jnp.ones((3, 5, 8))).shape
        (3, 8)
    """
    heads = weights.shape[1]
    mixed = jnp.einsum("bkn,bnd->bkd", weights, x)
    bias = jnp.zeros(value.out_features) if value.bias is None else value.bias[...]
    bias = rearrange(bias.astype(x.dtype), "(k e) -> k e", k=heads)
    share = jnp.sum(weights, axis=-1)[..., None]  # (b, k, 1)
    values = jnp.einsum("bkd,dke->bke", mixed, _kernel(value, x, heads)) + share * bias
    return rearrange(values, "b k e -> b (k e)")


def _kernel(layer: nnx.Linear, x: Tokens, heads: int) -> Float[Array, "d k e"]:
    return rearrange(layer.kernel[...].astype(x.dtype), "d (k e) -> d k e", k=heads)


def pair_map(query: Float[Array, "g k e"], key: Float[Array, "s k n e"]) -> Float[Array, "k g s n"]:
    """CLS row of the attention of every photo to every sketch; one large product per head.

    Args:
        query: of the photos' CLS tokens, scaled by e ** -0.5.
        key: of the sketches' tokens.

    Example:
        >>> pair_map(jnp.ones((3, 2, 4)), jnp.ones((6, 2, 5, 4))).shape
        (2, 3, 6, 5)
    """
    s = key.shape[0]
    flat = jnp.einsum(
        "gke,kme->kgm",
        query,
        rearrange(key, "s k n e -> k (s n) e"),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=wide_dtype(key),
    )
    return jax.nn.softmax(rearrange(flat, "k g (s n) -> k g s n", s=s), axis=-1).astype(key.dtype)


def wide_dtype(x: Float[Array, "..."]) -> DTypeLike:
    """The dtype of sums: at least float32.

    Example:
        >>> wide_dtype(jnp.ones(1, jnp.bfloat16))
        dtype('float32')
    """
    return jnp.promote_types(x.dtype, jnp.float32)
