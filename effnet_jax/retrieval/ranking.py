"""Ranks of the true photo in the whole gallery: counted, not sorted, and in blocks of bounded memory.

A query's rank needs two numbers only: how many photos score strictly better than the true one (r) and how many others
score exactly the same (t). The rank under a random order of the ties is 1 + r + t/2 on average, and the query adds
clip((K - r) / (t + 1), 0, 1) to Acc@K: a model that gives every photo the same score gets chance, not 100 %.

Memory: the normalised inputs, plus one block of `query_block * gallery_block` scores (128 MiB by default), whatever the
number of queries and photos.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, Num

QUERY_BLOCK = 256  # queries a block
GALLERY_BLOCK = 131_072  # photos a block
NORM_FLOOR = 1e-12

_GROUP = 128  # neighbouring photos under one maximum in the search for the first ten; also the padding of a block
_ROWS = 8  # padding of a block of queries


@dataclass(frozen=True)
class Ranking:
    """Where each query's true item stands among its candidates."""

    better: Int32[np.ndarray, "s"]  # r: items with a strictly higher score than the true one
    tied: Int32[np.ndarray, "s"]  # t: other items with exactly the same score
    candidates: Int32[np.ndarray, "s"]  # items that compete, the true one included
    top_index: Int32[np.ndarray, "s k"]  # gallery rows, best first; equal scores: lower row first
    top_score: Float32[np.ndarray, "s k"]

    @property
    def rank(self) -> Float[np.ndarray, "s"]:
        """Expected rank over random orders of the ties, from 1."""
        return 1 + self.better + self.tied / 2

    @property
    def gallery_size(self) -> int:
        """The smallest number of candidates of any query: the largest K that says something."""
        return int(self.candidates.min())


def credit_at_k(better: Int[np.ndarray, "s"], tied: Int[np.ndarray, "s"], k: int) -> Float[np.ndarray, "s"]:
    """Chance that the true item is among the first k when ties are ordered at random."""
    if k < 1:
        raise ValueError(f"Acc@K needs K >= 1, got K = {k}.")
    return np.clip((k - better.astype(np.float64)) / (tied + 1), 0, 1)


def accuracy_at_k(ranking: Ranking, k: int) -> float:
    """Share of queries, from 0 to 1, whose true item is among the first k. Ties count by their expectation.

    Raises:
        ValueError: k exceeds the gallery, where every ranking would score 100 %.
    """
    if k > ranking.gallery_size:
        raise ValueError(f"Acc@{k} says nothing about a gallery of {ranking.gallery_size}: choose K <= the gallery.")
    return float(credit_at_k(ranking.better, ranking.tied, k).mean())


def rank_gallery(
    sketches: Num[Array | np.ndarray, "s z"],
    photos: Num[Array | np.ndarray, "g z"],
    photo_index: Int[Array | np.ndarray, "s"],
    *,
    top: int = 10,
    normalise: bool = True,
    query_block: int = QUERY_BLOCK,
    gallery_block: int = GALLERY_BLOCK,
) -> Ranking:
    """Rank every sketch's photo in the whole gallery by cosine similarity.

    The arrays may lie on several devices: the same calculation runs there, sharded as they are.

    Args:
        sketches: embeddings of the queries; converted to float32.
        photos: embeddings of the gallery; converted to float32.
        photo_index: row of each sketch's photo in `photos`, 0..g-1.
        top: how many best photos to list per query; 0 lists none and saves their search.
        normalise: scale rows to unit norm (norm floored at 1e-12). False: plain dot products.
        query_block: queries scored at a time.
        gallery_block: photos scored at a time.

    Raises:
        ValueError: wrong shapes, no rows, a truth outside the gallery, NaN or infinity (the rows are named).
    """
    _check_shapes(sketches, photos, names=("sketches", "photos"))
    truth = _check_index(photo_index, len(sketches), len(photos), names=("sketches", "photos"))
    better, tied, top_index, top_score = _rank(
        sketches,
        photos,
        truth[:, None],
        ("sketches", "photos"),
        (top, normalise, query_block, gallery_block),
    )
    candidates = np.full(len(truth), len(photos), np.int32)
    return Ranking(better, tied, candidates, top_index, top_score)


def rank_sketches(
    photos: Num[Array | np.ndarray, "g z"],
    sketches: Num[Array | np.ndarray, "s z"],
    photo_index: Int[Array | np.ndarray, "s"],
    *,
    top: int = 10,
    normalise: bool = True,
    query_block: int = QUERY_BLOCK,
    gallery_block: int = GALLERY_BLOCK,
) -> tuple[Ranking, Int32[np.ndarray, "q"]]:
    """Rank the other way: each photo that has a sketch is a query, all sketches are the gallery.

    The hit is the photo's best-ranked own sketch; its other own sketches do not compete, so the candidates are that one
    and the sketches of all other photos. Arguments as in `rank_gallery`.

    Returns:
        The ranking (`top_index` are rows of `sketches`) and the rows of `photos` that were queries.
    """
    _check_shapes(photos, sketches, names=("photos", "sketches"))
    labels = _check_index(photo_index, len(sketches), len(photos), names=("sketches", "photos"))
    queries, counts = np.unique(labels, return_counts=True)
    by_photo = np.argsort(labels, kind="stable")
    own = np.full((len(queries), counts.max()), -1, np.int32)
    own[np.arange(counts.max()) < counts[:, None]] = by_photo  # row by row: the sketches of one photo
    better, tied, top_index, top_score = _rank(
        photos[queries],
        sketches,
        own,
        ("photos", "sketches"),
        (top, normalise, query_block, gallery_block),
    )
    candidates = (len(labels) - counts + 1).astype(np.int32)
    return Ranking(better, tied, candidates, top_index, top_score), queries


def _rank(queries, gallery, own, names, settings):
    """Counts and the first `top` items of each query. Row i of `own`: the gallery rows that are right for query i, or -1."""
    top, normalise, query_block, gallery_block = settings
    if query_block < 1 or gallery_block < 1 or top < 0:
        raise ValueError(
            f"blocks must be >= 1 and top >= 0; got query_block={query_block}, gallery_block={gallery_block}, top={top}."
        )
    s, g = len(queries), len(gallery)
    rows = _block_size(s, query_block, _ROWS)
    columns = _block_size(g, gallery_block, _GROUP)
    order = np.argsort(own[:, 0], kind="stable")  # neighbours then have their own items in the same tile of the gallery
    blocks = [order[i : i + rows] for i in range(0, s, rows)]
    tiles = [slice(j, min(j + columns, g)) for j in range(0, g, columns)]

    prepared_queries = [_scale(queries[block], rows, normalise) for block in blocks]
    prepared_gallery = [_scale(gallery if len(tiles) == 1 else gallery[tile], columns, normalise) for tile in tiles]
    _refuse_not_finite(names[0], order, prepared_queries)
    _refuse_not_finite(names[1], np.arange(g), prepared_gallery)

    top = min(top, g)
    better, tied = np.zeros(s, np.int32), np.zeros(s, np.int32)
    top_index, top_score = np.zeros((s, top), np.int32), np.zeros((s, top), np.float32)
    tiles = [(x, tile.start, tile.stop) for (x, _), tile in zip(prepared_gallery, tiles, strict=True)]
    for block, (x, _) in zip(blocks, prepared_queries, strict=True):
        counts = _rank_block(x, own[block], tiles, top)
        better[block], tied[block], top_index[block], top_score[block] = (part[: len(block)] for part in counts)
    return better, tied, top_index, top_score


def _rank_block(queries, own, tiles, top):
    """One block of queries against all tiles (rows, first, stop) of the gallery."""
    home = np.unique(own[own >= 0] // len(tiles[0][0]))  # the tiles that hold own items
    own = np.pad(own, ((0, len(queries) - len(own)), (0, 0)), constant_values=-1)
    best = jnp.full(len(queries), -jnp.inf)
    if len(home) > 1:  # find the best own score before counting
        for i in home:
            best = _score_tile(queries, own, best, *tiles[i], top)[0]
    better = tied = 0
    tops = []
    # With one home tile it goes first, and finds the true score on the way. Either way the true score is read from the
    # very product that is counted: the same compiled function on the same rows.
    for i in sorted(range(len(tiles)), key=lambda i: i not in home):
        best, b, t, index, score = _score_tile(queries, own, best, *tiles[i], top)
        better, tied = better + np.asarray(b), tied + np.asarray(t)  # waits: collectives must not pile up
        tops.append((np.asarray(index), np.asarray(score)))
    index, score = (np.concatenate(parts, axis=1) for parts in zip(*tops, strict=True))
    first = np.lexsort((index, -score), axis=1)[:, :top]
    return better, tied, np.take_along_axis(index, first, axis=1), np.take_along_axis(score, first, axis=1)


@partial(jax.jit, static_argnames="top")
def _score_tile(
    queries: Float32[Array, "q z"],
    own: Int32[Array, "q m"],
    best: Float32[Array, "q"],
    gallery: Float32[Array, "p z"],
    first: int,
    stop: int,
    top: int,
):
    """Best own score so far, counts of better and tied items in this tile, and the tile's first `top`."""
    scores = jnp.einsum("qz,pz->qp", queries, gallery, precision=jax.lax.Precision.HIGHEST)  # (q, p)
    real = jnp.arange(len(gallery)) < stop - first  # (p,): the rest is padding
    here = (own >= first) & (own < stop)
    own_scores = jnp.take_along_axis(scores, jnp.where(here, own - first, 0), axis=1)  # (q, m)
    best = jnp.maximum(best, jnp.max(jnp.where(here, own_scores, -jnp.inf), axis=1))
    # Two counts in one pass over the scores: on CPU this form is 20 times faster than two sums.
    better, tied = jax.lax.reduce(
        (
            ((scores > best[:, None]) & real).astype(jnp.int32),
            ((scores == best[:, None]) & real).astype(jnp.int32),
        ),
        (np.int32(0), np.int32(0)),
        lambda x, y: (x[0] + y[0], x[1] + y[1]),
        (1,),
    )
    tied -= jnp.sum(here & (own_scores == best[:, None]), axis=1)
    index, score = _first(scores, real, top)
    return best, better, tied, index + first, score


def _first(scores, real, top):
    """Columns and scores of the `top` best in each row, equal scores by column.

    top_k over the maxima of groups of neighbours, then over the members of the best groups. Exact: an item among the first
    k has fewer than k groups before its own.
    """
    q, p = scores.shape
    if p // _GROUP <= 4 * top:
        score, index = jax.lax.top_k(jnp.where(real, scores, -jnp.inf), min(top, p))
        return index, score
    scores = scores.reshape(q, -1, _GROUP)
    # Padding repeats the last real row: it cannot raise the maximum of a group that holds a real one.
    maxima = jnp.where(real[::_GROUP], jnp.max(scores, axis=2), -jnp.inf)
    groups = jnp.sort(jax.lax.top_k(maxima, top)[1], axis=1)  # (q, k)
    columns = (groups[:, :, None] * _GROUP + jnp.arange(_GROUP)).reshape(q, -1)
    members = jnp.take_along_axis(scores, groups[:, :, None], axis=1).reshape(q, -1)
    score, place = jax.lax.top_k(jnp.where(real[columns], members, -jnp.inf), top)
    return jnp.take_along_axis(columns, place, axis=1), score


@partial(jax.jit, static_argnames=("rows", "normalise"))
def _scale(x: Num[Array, "n z"], rows: int, normalise: bool) -> tuple[Float32[Array, "m z"], Float32[Array, "m"]]:
    """Rows in float32, scaled, the last one repeated up to `rows`; and their norms before scaling."""
    x = jnp.pad(x.astype(jnp.float32), ((0, rows - len(x)), (0, 0)), mode="edge")
    norm = jnp.sqrt(jnp.sum(x * x, axis=1))
    return (x / jnp.maximum(norm, NORM_FLOOR)[:, None] if normalise else x), norm


def _block_size(total: int, limit: int, multiple: int) -> int:
    """Rows a block such that blocks are about equal, at most `limit`, and (where that allows) padded to a multiple.

    Whole multiples keep every row on the same inner loop of the matrix product, so that equal rows score equally.
    """
    blocks = -(-total // limit)
    size = -(-total // blocks)
    return -(-size // multiple) * multiple


def _check_shapes(queries, gallery, names):
    shapes = tuple(queries.shape), tuple(gallery.shape)
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"Embeddings must be matrices of one width; got {names[0]} {shapes[0]} and {names[1]} {shapes[1]}."
        )
    if 0 in shapes[0] + shapes[1]:
        raise ValueError(f"Nothing to rank: {names[0]} {shapes[0]}, {names[1]} {shapes[1]}.")


def _check_index(photo_index, sketches, photos, names):
    index = np.asarray(photo_index)
    if index.shape != (sketches,) or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(
            f"photo_index must be integers of shape ({sketches},), one per row of {names[0]}; "
            f"got {index.dtype} {index.shape}."
        )
    wrong = np.flatnonzero((index < 0) | (index >= photos))
    if len(wrong):
        listed = ", ".join(f"row {i}: {index[i]}" for i in wrong[:20])
        raise ValueError(
            f"{len(wrong)} entries of photo_index lie outside the {photos} rows of {names[1]}: {listed}"
            + (", ..." if len(wrong) > 20 else "")
        )
    return index.astype(np.int32)


def _refuse_not_finite(name, rows, prepared):
    norms = np.concatenate([np.asarray(norms) for _, norms in prepared])[: len(rows)]
    wrong = np.sort(rows[~np.isfinite(norms)])
    if len(wrong):
        listed = ", ".join(str(i) for i in wrong[:20]) + (", ..." if len(wrong) > 20 else "")
        raise ValueError(
            f"{len(wrong)} of {len(rows)} rows of {name} hold NaN, infinity or values beyond float32 norms (about 1e19), "
            f"and have no rank: rows {listed}"
        )
