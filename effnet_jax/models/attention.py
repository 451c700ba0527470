"""Softmax attention over the tokens of an image, by several implementations of equal value."""

from collections.abc import Callable
from functools import cache, partial
from typing import Literal

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Attend = Callable[[Float[Array, "b n t"], int], Float[Array, "b n d"]]


def attend_merged(qkv: Float[Array, "b n t"], heads: int) -> Float[Array, "b n d"]:
    """Attend with batch and heads on one axis, and divide after the product: on CPU the fastest of XLA's ways.

    The softmax is taken in float32 whatever the compute dtype.

    Example:
        >>> attend_merged(jnp.ones((1, 5, 24)), heads=2).shape
        (1, 5, 8)
    """
    b = qkv.shape[0]
    query, key, value = rearrange(qkv, "b n (three k e) -> three (b k) n e", three=3, k=heads)  # each (b k, n, e)
    query = query * query.shape[-1] ** -0.5
    logits = jnp.einsum("c n e, c m e -> c n m", query, key, preferred_element_type=jnp.float32)
    # Dividing after the product touches n e numbers per head instead of n m.
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    attended = jnp.einsum("c n m, c m e -> c n e", weights.astype(qkv.dtype), value)
    attended = (attended / jnp.sum(weights, axis=-1, keepdims=True)).astype(qkv.dtype)
    return rearrange(attended, "(b k) n e -> b n (k e)", b=b)


def attend_by_jax(
    qkv: Float[Array, "b n t"], heads: int, *, implementation: Literal["xla", "cudnn"], even: bool = False
) -> Float[Array, "b n d"]:
    """Attend with `jax.nn.dot_product_attention`.

    Args:
        qkv: queries, keys and values side by side, each of all heads.
        heads: k.
        implementation: xla or cudnn.
        even: fill an odd number of tokens up by one that no token attends to; cuDNN trains no odd numbers.

    Example:
        >>> attend_by_jax(jnp.ones((1, 5, 24)), 2, implementation="xla", even=True).shape
        (1, 5, 8)
    """
    b, n, _ = qkv.shape
    odd = even and n % 2
    filled = jnp.pad(qkv, ((0, 0), (0, 1), (0, 0))) if odd else qkv
    lengths = jnp.full(b, n, jnp.int32) if odd else None
    query, key, value = rearrange(filled, "b n (three k e) -> three b n k e", three=3, k=heads)
    attended = jax.nn.dot_product_attention(
        query, key, value, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation=implementation
    )
    return rearrange(attended[:, :n], "b n k e -> b n (k e)")


ATTENTION: dict[str, Attend] = {
    "merged": attend_merged,
    "xla": partial(attend_by_jax, implementation="xla"),
    "cudnn": partial(attend_by_jax, implementation="cudnn", even=True),
}


def choose_attention(name: str, dtype: DTypeLike, tokens: int, heads: int, head_width: int) -> tuple[str, str]:
    """Resolve "auto": cuDNN's fused attention where a GPU in bfloat16 can compile it, else XLA's on GPUs, else merged.

    Returns:
        A key of ATTENTION, and why it was chosen.

    Raises:
        ValueError: cuDNN was asked for and cannot compile it here.

    Example:
        >>> choose_attention("xla", jnp.float32, tokens=197, heads=12, head_width=64)
        ('xla', 'as configured')
    """
    if name == "cudnn" and (problem := cudnn_problem(tokens, heads, head_width)):
        raise ValueError(f"model.attention=cudnn cannot be used here ({problem}); model.attention=auto takes what can.")
    if name != "auto":
        return name, "as configured"
    backend = jax.default_backend()
    if backend != "gpu":
        return "merged", f"auto, on {backend}"
    if jnp.dtype(dtype) != jnp.bfloat16:
        return "xla", "auto; cudnn needs model.dtype=bfloat16"
    problem = cudnn_problem(tokens, heads, head_width)
    return ("xla", f"auto; cudnn cannot: {problem}") if problem else ("cudnn", "auto")


@cache
def cudnn_problem(tokens: int, heads: int, head_width: int) -> str:
    """Compile a small forward and backward pass with cuDNN; "" where it works, else the first line of its complaint.

    Example:
        >>> isinstance(cudnn_problem(tokens=5, heads=2, head_width=8), str)
        True
    """
    qkv = jax.ShapeDtypeStruct((1, tokens, 3 * heads * head_width), jnp.bfloat16)

    def loss(qkv: Array) -> Array:
        return jnp.sum(ATTENTION["cudnn"](qkv, heads).astype(jnp.float32))

    try:
        jax.jit(jax.grad(loss)).lower(qkv).compile()
    except Exception as error:  # whatever kind it is, there is another way
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return ""
