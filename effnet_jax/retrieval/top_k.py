"""The k photos nearest to each query, exactly, from vectors that need not fit into memory."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int32, Num

from effnet_jax.retrieval.scores import GROUP, block_size, first_columns

BLOCK_ROWS = 8192  # of the vectors at a time: 16 MiB at width 512, which a core's caches still help with
QUERIES = 64  # scored at a time


class TopK(NamedTuple):
    """The first k rows of each query, best first; equal scores: the lower row first.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.top_k import Blocks, top_k
        >>> index, score = top_k(np.array([[1.0, 0.0]]), Blocks(np.eye(2, dtype=np.float32)), k=2)
        >>> index, score
        (array([[0, 1]], dtype=int32), array([[1., 0.]], dtype=float32))
    """

    index: Int32[np.ndarray, "s k"]
    score: Float32[np.ndarray, "s k"]


class Blocks:
    """Vectors cut into blocks of one size, as `top_k` reads them.

    Args:
        vectors: one per row, any real dtype; a memory map is read block by block at each search.
        rows: vectors in a block, which bounds the memory of a search; rounded up to a multiple of 128.
        resident: copy all vectors to the device as float32, once, which makes each search several times faster.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.top_k import Blocks
        >>> blocks = Blocks(np.zeros((1000, 16), np.float16), rows=400)
        >>> list(blocks.starts), blocks[768].shape  # the last is filled up
        ([0, 384, 768], (384, 16))
    """

    def __init__(
        self, vectors: Num[np.ndarray | Array, "n z"], *, rows: int = BLOCK_ROWS, resident: bool = False
    ) -> None:
        if rows < 1:
            raise ValueError(f"A block needs at least one row, got rows={rows}.")
        self.count, self.width = vectors.shape
        self.rows = block_size(self.count, rows, GROUP) if self.count else GROUP
        self._vectors = vectors
        self._resident = [jnp.asarray(self._cut(j), jnp.float32) for j in self.starts] if resident else None

    @property
    def starts(self) -> range:
        """First row of each block."""
        return range(0, self.count, self.rows)

    def __getitem__(self, start: int) -> Num[np.ndarray | Array, "m z"]:
        """Give the block that starts at a row, padded to full size by its last row."""
        return self._cut(start) if self._resident is None else self._resident[start // self.rows]

    def _cut(self, start: int) -> Num[np.ndarray | Array, "m z"]:
        block = self._vectors[start : start + self.rows]
        missing = self.rows - len(block)
        return np.pad(block, ((0, missing), (0, 0)), mode="edge") if missing else block


def top_k(queries: Float[np.ndarray | Array, "s z"], vectors: Blocks, k: int) -> TopK:
    """Find the rows with the largest dot products, in float32 and with full precision.

    With rows and queries of unit norm the score is their cosine. Every vector is compared: nothing is approximated.
    Memory beyond the vectors: one block of them in float32, and its scores.

    Args:
        queries: one per row.
        vectors: what is searched; finite.
        k: rows to find, 0 or more; all of them where there are fewer.

    Raises:
        ValueError: widths that differ, a negative k, or NaN or infinity in a query (the rows are named).

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.top_k import Blocks, top_k
        >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], np.float32)
        >>> top_k(np.array([[0.0, 1.0]]), Blocks(vectors), k=2).index
        array([[1, 2]], dtype=int32)
    """
    queries = np.asarray(queries, np.float32)
    if queries.shape[1] != vectors.width:
        raise ValueError(f"The queries have width {queries.shape[1]}, the vectors {vectors.width}.")
    if k < 0:
        raise ValueError(f"k={k} must be 0 or more.")
    wrong = np.flatnonzero(~np.isfinite(queries).all(1))
    if len(wrong):
        raise ValueError(f"{len(wrong)} of {len(queries)} queries hold NaN or infinity: rows {_listed(wrong)}")
    k = min(k, vectors.count)
    if not k or not len(queries):
        return TopK(np.empty((len(queries), k), np.int32), np.empty((len(queries), k), np.float32))
    parts = [_few(queries[i : i + QUERIES], vectors, k) for i in range(0, len(queries), QUERIES)]
    return TopK(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def _few(queries: Float32[np.ndarray, "q z"], vectors: Blocks, k: int) -> TopK:
    # One query stays one, which halves the time; more are padded to a power of two, so that few shapes are compiled.
    padded = 1 << (len(queries) - 1).bit_length()
    on_device = jnp.asarray(np.pad(queries, ((0, padded - len(queries)), (0, 0))))
    found = []
    for start in vectors.starts:
        index, score = _of_block(on_device, vectors[start], min(vectors.rows, vectors.count - start), k)
        found.append((index, score, start))
        if len(found) % 8 == 0:
            score.block_until_ready()  # bounds how many blocks are in flight, and so the memory
    index = np.concatenate([np.asarray(i) + start for i, _, start in found], axis=1)[: len(queries)]
    score = np.concatenate([np.asarray(s) for _, s, _ in found], axis=1)[: len(queries)]
    first = np.lexsort((index, -score), axis=1)[:, :k]
    return TopK(np.take_along_axis(index, first, 1).astype(np.int32), np.take_along_axis(score, first, 1))


@partial(jax.jit, static_argnames="k")
def _of_block(
    queries: Float32[Array, "q z"], block: Num[Array, "m z"], count: int | Int32[Array, ""], k: int
) -> tuple[Int32[Array, "q j"], Float32[Array, "q j"]]:
    """The first k of the `count` real rows of a block; padding scores -inf and its places are lost in the merge."""
    scores = jnp.einsum("qz,mz->qm", queries, block.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    return first_columns(scores, jnp.arange(len(block)) < count, min(k, len(block)))


def _listed(rows: Sequence[int] | np.ndarray, most: int = 20) -> str:
    return ", ".join(str(i) for i in rows[:most]) + (", ..." if len(rows) > most else "")
