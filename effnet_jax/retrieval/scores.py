"""The inner loop of ranking: tiles of scores, counted under jit, and the first few found without sorting a row."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Num

QUERY_BLOCK = 256  # queries per block
GALLERY_BLOCK = 131_072  # photos per block
LARGE = 1e6  # rows with a larger entry are divided by it before their norm is taken, which else overflows from 2e19 on
NORM_FLOOR = 1e-12  # rows are divided by max(norm, NORM_FLOOR); as in losses.py, whose import would bring flax
GROUP = 128  # neighbouring photos under one maximum in the search for the first ten; also the padding of a block
_ROWS = 8  # padding of a block of queries


class Counts(NamedTuple):
    """What one comparison of queries with a gallery yields.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.scores import Counts
        >>> index, score = np.array([[2]], np.int32), np.array([[0.9]], np.float32)
        >>> counts = Counts(np.array([1], np.int32), np.array([0], np.int32), index, score)
        >>> 1 + counts.better + counts.tied / 2  # the expected rank
        array([2.])
    """

    better: Int32[np.ndarray, " s"]  # items of others with a strictly higher score than the best own one
    tied: Int32[np.ndarray, " s"]  # items of others with exactly that score
    top_index: Int32[np.ndarray, "s k"]
    top_score: Float32[np.ndarray, "s k"]


def count_better(
    queries: Num[Array | np.ndarray, "s z"],
    gallery: Num[Array | np.ndarray, "g z"],
    own: Int32[np.ndarray, "s m"],
    *,
    top: int,
    normalise: bool,
    query_block: int,
    gallery_block: int,
    names: tuple[str, str] = ("queries", "gallery"),
) -> Counts:
    """Compare each query's best own item with all items that are not its own.

    Args:
        queries: any real dtype; converted to float32.
        gallery: likewise.
        own: the gallery rows that are right for each query, filled up with -1.
        top: how many best items to list per query.
        normalise: scale rows to unit norm, floored at 1e-12.
        query_block: queries scored at a time.
        gallery_block: gallery rows scored at a time.
        names: what the rows are called in errors.

    Raises:
        ValueError: NaN or infinity in a row, or an impossible setting.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.scores import count_better
        >>> gallery = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> own = np.array([[0, 1]], np.int32)  # two of them are right
        >>> settings = dict(top=2, normalise=True, query_block=256, gallery_block=1024)
        >>> counts = count_better(np.array([[2.0, 1.0]]), gallery, own, **settings)
        >>> counts.better, counts.top_index
        (array([1], dtype=int32), array([[2, 0]], dtype=int32))
    """
    if query_block < 1 or gallery_block < 1 or top < 0:
        raise ValueError(
            f"Blocks must be >= 1, top >= 0; got query_block={query_block}, gallery_block={gallery_block}, top={top}."
        )
    s, g = len(queries), len(gallery)
    rows = block_size(s, query_block, _ROWS)
    columns = block_size(g, gallery_block, GROUP)
    starts = range(0, g, columns)
    tiles = [_scale(gallery if g <= columns else gallery[j : j + columns], columns, normalise) for j in starts]
    _refuse_not_finite(names[1], np.arange(g), [norms for _, norms in tiles])

    # In this order neighbours have their own items in the same tile of the gallery.
    order = np.argsort(own[:, 0], kind="stable")
    padded = -(-s // rows) * rows
    queries, norms = _scale(queries[order], padded, normalise)
    _refuse_not_finite(names[0], order, [norms])
    queries = queries.reshape(-1, rows, queries.shape[1])  # (blocks, rows, z)
    own = np.pad(own[order], ((0, padded - s), (0, 0)), constant_values=-1).reshape(len(queries), rows, -1)

    top = min(top, g)
    best = np.full(own.shape[:2], -np.inf, np.float32)
    if len(tiles) > 1:  # the best own score must be known before counting: find it where own items are
        for j, (tile, _) in zip(starts, tiles, strict=True):
            home = ((own >= j) & (own < j + columns)).any(axis=(1, 2))
            best = np.asarray(_score_tile(queries, own, best, home, tile, j, min(j + columns, g), top)[0])
    everywhere = np.ones(len(queries), bool)
    better, tied = np.zeros((2, *best.shape), np.int32)
    tops = []
    for j, (tile, _) in zip(starts, tiles, strict=True):
        best, b, t, *first = _score_tile(queries, own, best, everywhere, tile, j, min(j + columns, g), top)
        better, tied = better + np.asarray(b), tied + np.asarray(t)  # waits: collectives must not pile up
        tops.append([np.asarray(x) for x in first])
    index, score = (np.concatenate(parts, axis=2) for parts in zip(*tops, strict=True))
    first = np.lexsort((index, -score), axis=2)[..., :top]
    back = np.argsort(order)
    results = better, tied, np.take_along_axis(index, first, axis=2), np.take_along_axis(score, first, axis=2)
    return Counts(*(x.reshape(padded, *x.shape[2:])[back] for x in results))


@partial(jax.jit, static_argnames="top")
def _score_tile(
    queries: Float32[Array, "n q z"],
    own: Int32[Array, "n q m"],
    best: Float32[Array, "n q"],
    active: Bool[Array, " n"],
    gallery: Float32[Array, "p z"],
    first: int | Int32[Array, ""],
    stop: int | Int32[Array, ""],
    top: int,
) -> tuple[
    Float32[Array, "n q"], Int32[Array, "n q"], Int32[Array, "n q"], Int32[Array, "n q k"], Float32[Array, "n q k"]
]:
    """The active blocks of queries, one after the other, against one tile: gallery rows first..stop-1, then padding.

    Returns: best own score so far, counts of better and tied items in this tile, the tile's `top` rows and scores. The
    true score is read from the very product that is counted; with several tiles the same compiled function made it.
    """

    def score(arguments: tuple[Array, ...]) -> tuple[Array, ...]:
        queries, own, best = arguments
        scores = jnp.einsum("qz,pz->qp", queries, gallery, precision=jax.lax.Precision.HIGHEST)  # (q, p)
        real = jnp.arange(len(gallery)) < stop - first  # (p,)
        here = (own >= first) & (own < stop)
        own_scores = jnp.take_along_axis(scores, jnp.where(here, own - first, 0), axis=1)  # (q, m)
        best = jnp.maximum(best, jnp.max(jnp.where(here, own_scores, -jnp.inf), axis=1))
        better, tied = _count_two((scores > best[:, None]) & real, (scores == best[:, None]) & real)
        tied -= jnp.sum(here & (own_scores == best[:, None]), axis=1)
        index, score = first_columns(scores, real, top)
        return best, better, tied, index + first, score

    def skip(arguments: tuple[Array, ...]) -> tuple[Array, ...]:
        shapes = jax.eval_shape(score, arguments)
        return arguments[2], *(jnp.zeros(x.shape, x.dtype) for x in shapes[1:])

    return jax.lax.map(lambda x: jax.lax.cond(x[0], score, skip, x[1:]), (active, queries, own, best))


def _count_two(a: Bool[Array, "q p"], b: Bool[Array, "q p"]) -> tuple[Int32[Array, " q"], Int32[Array, " q"]]:
    """Row counts of both in one pass: on CPU 20 times faster than two sums."""
    zero = np.int32(0)
    add = lambda x, y: (x[0] + y[0], x[1] + y[1])  # noqa: E731
    return jax.lax.reduce((a.astype(jnp.int32), b.astype(jnp.int32)), (zero, zero), add, (1,))


def first_columns(
    scores: Float32[Array, "q p"], real: Bool[Array, " p"], top: int
) -> tuple[Int32[Array, "q k"], Float32[Array, "q k"]]:
    """Columns and scores of the `top` best in each row, equal scores by column; columns that are not `real` come last.

    top_k over the maxima of groups of neighbours, then over the members of the best groups. Exact: an item among the
    first k has fewer than k groups before its own.

    Example:
        >>> import jax.numpy as jnp
        >>> from effnet_jax.retrieval.scores import first_columns
        >>> scores, real = jnp.array([[0.1, 0.5, 0.3, 0.9]]), jnp.array([True, True, True, False])
        >>> index, score = first_columns(scores, real, 2)
        >>> index.tolist()
        [[1, 2]]
    """
    q, p = scores.shape
    if p // GROUP <= 4 * top:
        score, index = jax.lax.top_k(jnp.where(real, scores, -jnp.inf), min(top, p))
        return index, score
    scores = scores.reshape(q, -1, GROUP)
    # Padding repeats the last real row: it cannot raise the maximum of a group that holds a real one.
    maxima = jnp.where(real[::GROUP], jnp.max(scores, axis=2), -jnp.inf)
    groups = jnp.sort(jax.lax.top_k(maxima, top)[1], axis=1)  # (q, k)
    columns = (groups[:, :, None] * GROUP + jnp.arange(GROUP)).reshape(q, -1)
    members = jnp.take_along_axis(scores, groups[:, :, None], axis=1).reshape(q, -1)
    score, place = jax.lax.top_k(jnp.where(real[columns], members, -jnp.inf), top)
    return jnp.take_along_axis(columns, place, axis=1), score


@partial(jax.jit, static_argnames=("rows", "normalise"))
def _scale(x: Num[Array, "n z"], rows: int, normalise: bool) -> tuple[Float32[Array, "m z"], Float32[Array, " m"]]:
    """Rows in float32, scaled, the last one repeated up to `rows`; and norms, not finite where a row has no rank."""
    x = jnp.pad(x.astype(jnp.float32), ((0, rows - len(x)), (0, 0)), mode="edge")
    if normalise:
        largest = jnp.max(jnp.abs(x), axis=1, keepdims=True)
        x = x / jnp.where(largest > LARGE, largest, 1)
    norm = jnp.sqrt(jnp.sum(x * x, axis=1))
    return (x / jnp.maximum(norm, NORM_FLOOR)[:, None] if normalise else x), norm


def block_size(total: int, limit: int, multiple: int) -> int:
    """Rows per block such that blocks are about equal, at most `limit`, and (where that allows) padded to a multiple.

    Whole multiples keep every row on the same inner loop of the matrix product, so that equal rows score equally.

    Example:
        >>> from effnet_jax.retrieval.scores import block_size
        >>> block_size(1000, limit=400, multiple=128)  # three blocks
        384
    """
    blocks = -(-total // limit)
    size = -(-total // blocks)
    return -(-size // multiple) * multiple


def _refuse_not_finite(name: str, rows: Int[np.ndarray, " n"], norms: Sequence[Array]) -> None:
    values = np.concatenate([np.asarray(x) for x in norms])[: len(rows)]
    wrong = np.sort(rows[~np.isfinite(values)])
    if len(wrong):
        listed = ", ".join(str(i) for i in wrong[:100]) + (", ..." if len(wrong) > 100 else "")
        raise ValueError(
            f"{len(wrong)} of {len(rows)} rows of {name} hold NaN, infinity or values too large for float32 "
            f"(unscaled: norms above 1e19), and have no rank: rows {listed}"
        )


def unit_rows(x: Float[np.ndarray, "b z"]) -> Float[np.ndarray, "b z"]:
    """Scale rows on the host to unit norm; a zero row stays zero.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), NORM_FLOOR)


def mix(cosines: Float32[Any, "s m"], scores: Float32[Any, "s m"], weight: float, scale: float) -> Float32[Any, "s m"]:
    """Weigh cosines by 1 - weight and scores by weight * scale, over their sum, so that both stay in -1 to 1.

    Written with array operators only: NumPy arrays give a NumPy array, JAX arrays (also under jit) a JAX array.

    Args:
        cosines: of embeddings.
        scores: of the same pairs, by another scorer.
        weight: of the scores, 0..1.
        scale: brings scores to the spread of cosines, above 0.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.scores import mix
        >>> mix(np.float32([[0.2]]), np.float32([[0.8]]), weight=0.5, scale=2.0).round(2).tolist()
        [[0.6000000238418579]]
    """
    cosine, score = 1 - weight, weight * scale
    return np.float32(cosine / (cosine + score)) * cosines + np.float32(score / (cosine + score)) * scores
