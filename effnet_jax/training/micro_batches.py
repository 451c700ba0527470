"""Encode a batch few rows at a time, without losing negatives: memory of a small batch, gradient of the whole one."""

from collections.abc import Callable
from typing import TypeVar

import jax
from jaxtyping import Array

from effnet_jax.training.step import Batch

Encoded = TypeVar("Encoded")


def in_micro_batches(encode: Callable[[Batch], Encoded], batch: Batch, size: int) -> Encoded:
    """Encode all rows of a batch, `size` of them at a time, and again where the gradient is wanted.

    What the loss sees is all encodings at once, so it has every negative. Differentiation takes two passes: the first
    keeps nothing but the encodings; the second, with the loss's gradient in them, encodes each micro-batch again and
    adds up its gradients. That costs one forward pass more. A micro-batch takes every n-th row, so that on a mesh each
    device encodes rows of its own in all of them.

    Args:
        encode: rows -> encodings, row by row: no batch norms.
        batch: arrays with one row per pair.
        size: pairs of a micro-batch, over all devices; must divide the batch.

    Raises:
        ValueError: it does not.

    Source: Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup".
    """
    rows = len(batch["position"])
    if size < 1 or rows % size:
        raise ValueError(f"a micro-batch of {size} pairs does not divide a batch of {rows}.")

    def cut(x: Array) -> Array:
        return x.reshape(size, rows // size, *x.shape[1:]).swapaxes(0, 1)  # (n, size, ...)

    def join(x: Array) -> Array:
        return x.swapaxes(0, 1).reshape(rows, *x.shape[2:])

    encoded = jax.lax.map(jax.checkpoint(encode, prevent_cse=False), jax.tree.map(cut, dict(batch)))
    return jax.tree.map(join, encoded)
