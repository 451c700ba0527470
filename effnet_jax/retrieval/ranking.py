"""Ranks of the true photo in the whole gallery: counted, not sorted, and in blocks of bounded memory.

A query's rank needs two numbers only: how many photos score strictly better than the true one (r) and how many others
score exactly the same (t). The rank under a random order of the ties is 1 + r + t/2 on average, and the query adds
clip((K - r) / (t + 1), 0, 1) to Acc@K: a model that gives every photo the same score gets chance, not 100 %.

Memory: the normalised inputs, plus one block of `query_block * gallery_block` scores (128 MiB by default), whatever the
number of queries and photos.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, Num

from effnet_jax.retrieval.scores import GALLERY_BLOCK, QUERY_BLOCK, count_better


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Where each query's true item stands among its candidates.

    Attributes:
        better: items with a strictly higher score than the true one, of each of the s queries.
        tied: other items with exactly the same score.
        candidates: items that compete, the true one included.
        top_index: gallery rows of the first k, best first; equal scores: lower row first.
        top_score: their scores.

    Example:
        >>> import numpy as np
        >>> from effnet_jax import rank_gallery
        >>> photos = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> ranking = rank_gallery(np.array([[2.0, 1.0]]), photos, np.array([0]))  # drawn from photo 0, most like 2
        >>> ranking.rank, ranking.top_index
        (array([2.]), array([[2, 0, 1]], dtype=int32))
    """

    better: Int32[np.ndarray, " s"]
    tied: Int32[np.ndarray, " s"]
    candidates: Int32[np.ndarray, " s"]
    top_index: Int32[np.ndarray, "s k"]
    top_score: Float32[np.ndarray, "s k"]

    @property
    def rank(self) -> Float[np.ndarray, " s"]:
        """Expected rank over random orders of the ties, from 1."""
        return 1 + self.better + self.tied / 2

    @property
    def gallery_size(self) -> int:
        """The smallest number of candidates of any query: the largest K that says something."""
        return int(self.candidates.min())


def credit_at_k(better: Int[np.ndarray, " s"], tied: Int[np.ndarray, " s"], k: int) -> Float[np.ndarray, " s"]:
    """Chance that the true item is among the first k when ties are ordered at random.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.ranking import credit_at_k
        >>> credit_at_k(better=np.array([0, 0, 5]), tied=np.array([0, 3, 0]), k=1)  # alone, one of four alike, sixth
        array([1.  , 0.25, 0.  ])
    """
    if k < 1:
        raise ValueError(f"Acc@K needs K >= 1, got K = {k}.")
    return np.clip((k - better.astype(np.float64)) / (tied + 1), 0, 1)


def accuracy_at_k(ranking: Ranking, k: int) -> float:
    """Share of queries, from 0 to 1, whose true item is among the first k. Ties count by their expectation.

    Args:
        ranking: of all queries.
        k: from 1 to the size of the gallery.

    Raises:
        ValueError: k exceeds the gallery, where every ranking would score 100 %.

    Example:
        >>> import numpy as np
        >>> from effnet_jax import accuracy_at_k, rank_gallery
        >>> photos = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> ranking = rank_gallery(np.array([[2.0, 1.0], [0.0, 1.0]]), photos, np.array([0, 1]))  # second and first
        >>> accuracy_at_k(ranking, 1), accuracy_at_k(ranking, 2)
        (0.5, 1.0)
    """
    if k > ranking.gallery_size:
        raise ValueError(f"Acc@{k} says nothing about a gallery of {ranking.gallery_size}: choose K <= the gallery.")
    return float(credit_at_k(ranking.better, ranking.tied, k).mean())


def rank_gallery(
    sketches: Num[Array | np.ndarray, "s z"],
    photos: Num[Array | np.ndarray, "g z"],
    photo_index: Int[Array | np.ndarray, " s"],
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
        query_block: queries scored at a time (rounded up to a multiple of 8).
        gallery_block: photos scored at a time (rounded up to a multiple of 128).

    Raises:
        ValueError: wrong shapes, no rows, a truth outside the gallery, NaN or infinity (the rows are named).

    Example:
        >>> import numpy as np
        >>> from effnet_jax import rank_gallery
        >>> photos = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> sketches = np.array([[2.0, 1.0], [0.0, 1.0]])  # of photos 0 and 1
        >>> ranking = rank_gallery(sketches, photos, np.array([0, 1]), top=1)
        >>> ranking.rank, ranking.top_index[:, 0]
        (array([2., 1.]), array([2, 1], dtype=int32))
    """
    _check_shapes(sketches, photos, ("sketches", "photos"))
    truth = _check_index(photo_index, len(sketches), len(photos))
    counts = count_better(
        sketches,
        photos,
        truth[:, None],
        top=top,
        normalise=normalise,
        query_block=query_block,
        gallery_block=gallery_block,
        names=("sketches", "photos"),
    )
    candidates = np.full(len(truth), len(photos), np.int32)
    return Ranking(counts.better, counts.tied, candidates, counts.top_index, counts.top_score)


def rank_sketches(
    photos: Num[Array | np.ndarray, "g z"],
    sketches: Num[Array | np.ndarray, "s z"],
    photo_index: Int[Array | np.ndarray, " s"],
    *,
    top: int = 10,
    normalise: bool = True,
    query_block: int = QUERY_BLOCK,
    gallery_block: int = GALLERY_BLOCK,
) -> tuple[Ranking, Int32[np.ndarray, " q"]]:
    """Rank the other way: each photo that has a sketch is a query, all sketches are the gallery.

    The hit is the photo's best-ranked own sketch; its other own sketches do not compete, so the candidates are that one
    and the sketches of all other photos. Arguments as in `rank_gallery`.

    Returns:
        The ranking (`top_index` are rows of `sketches`) and the rows of `photos` that were queries.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.ranking import rank_sketches
        >>> photos = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> sketches = np.array([[2.0, 1.0], [0.0, 1.0], [0.1, 1.0]])  # of photos 0, 1 and 1
        >>> ranking, queries = rank_sketches(photos, sketches, np.array([0, 1, 1]))  # nobody drew photo 2
        >>> queries, ranking.rank
        (array([0, 1], dtype=int32), array([1., 1.]))
    """
    _check_shapes(photos, sketches, ("photos", "sketches"))
    labels = _check_index(photo_index, len(sketches), len(photos))
    queries, sizes = np.unique(labels, return_counts=True)
    by_photo = np.argsort(labels, kind="stable")
    own = np.full((len(queries), sizes.max()), -1, np.int32)
    own[np.arange(sizes.max()) < sizes[:, None]] = by_photo  # row by row: the sketches of one photo
    counts = count_better(
        photos[queries],
        sketches,
        own,
        top=top,
        normalise=normalise,
        query_block=query_block,
        gallery_block=gallery_block,
        names=("photos", "sketches"),
    )
    candidates = (len(labels) - sizes + 1).astype(np.int32)
    return Ranking(counts.better, counts.tied, candidates, counts.top_index, counts.top_score), queries


def rank_scores(scores: Float[np.ndarray, "s g"], photo_index: Int[np.ndarray, " s"], *, top: int = 10) -> Ranking:
    """Rank every sketch's photo by given scores, such as those of a pair scorer.

    Args:
        scores: of every sketch with every photo, higher is better.
        photo_index: row of each sketch's photo in the gallery, 0..g-1.
        top: how many best photos to list per query.

    Raises:
        ValueError: wrong shapes, a truth outside the gallery, NaN (the rows are named).

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.ranking import rank_scores
        >>> scores = np.array([[0.2, 0.9, 0.5], [0.1, 0.3, 0.3]])
        >>> rank_scores(scores, np.array([2, 1])).rank  # the second sketch's photo ties with another
        array([2. , 1.5])
    """
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"Nothing to rank: scores {scores.shape}.")
    truth = _check_index(photo_index, *scores.shape)
    _refuse_nan(scores)
    own = np.take_along_axis(scores, truth[:, None], axis=1)
    first = np.argsort(-scores, axis=1, kind="stable")[:, :top].astype(np.int32)
    return Ranking(
        better=np.count_nonzero(scores > own, axis=1).astype(np.int32),
        tied=(np.count_nonzero(scores == own, axis=1) - 1).astype(np.int32),
        candidates=np.full(len(scores), scores.shape[1], np.int32),
        top_index=first,
        top_score=np.take_along_axis(scores, first, axis=1).astype(np.float32),
    )


def rerank(
    encoder: Ranking, scores: Float[np.ndarray, "s m"], photo_index: Int[np.ndarray, " s"], *, top: int = 10
) -> Ranking:
    """Re-rank the shortlists of a ranking by other scores; what is not on a shortlist follows it in the old order.

    So a photo outside the shortlist keeps its rank, and one inside has at most rank m. Photos that tie across the
    shortlist's edge were cut in the order of the gallery; one that was left outside comes after all that are inside.

    Args:
        encoder: first ranking; its `top_index` is the shortlist.
        scores: new scores of the shortlist.
        photo_index: row of each sketch's photo in the gallery.
        top: how many best photos to list per query, at most m.

    Raises:
        ValueError: shapes that differ, NaN.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.ranking import rank_scores, rerank
        >>> truth = np.array([2, 0])
        >>> first = rank_scores(np.array([[0.2, 0.9, 0.5], [0.1, 0.3, 0.2]]), truth, top=2)  # ranks 2 and 3
        >>> again = rerank(first, np.array([[0.0, 1.0], [0.0, 1.0]]), truth)  # of photos 1 and 2, for each
        >>> again.rank
        array([1., 3.])
    """
    if scores.shape != encoder.top_index.shape:
        raise ValueError(f"scores {scores.shape} do not belong to shortlists {encoder.top_index.shape}.")
    _refuse_nan(scores)
    found = encoder.top_index == np.asarray(photo_index)[:, None]
    inside = found.any(axis=1)
    own = np.max(np.where(found, scores, -np.inf), axis=1, keepdims=True)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    better = np.count_nonzero(scores > own, axis=1).astype(np.int32)
    tied = (np.count_nonzero(scores == own, axis=1) - 1).astype(np.int32)
    ahead = np.maximum(scores.shape[1] - encoder.better, 0)  # photos inside that the encoder gave the same score
    return Ranking(
        better=np.where(inside, better, encoder.better + ahead).astype(np.int32),
        tied=np.where(inside, tied, encoder.tied - ahead).astype(np.int32),
        candidates=encoder.candidates,
        top_index=np.take_along_axis(encoder.top_index, order, axis=1),
        top_score=np.take_along_axis(scores, order, axis=1).astype(np.float32),
    )


def join_rankings(parts: Sequence[Ranking]) -> Ranking:
    """Put the rankings of consecutive queries together.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.ranking import join_rankings, rank_scores
        >>> parts = [rank_scores(np.array([[0.2, 0.9]]), np.array([i])) for i in (0, 1)]
        >>> join_rankings(parts).rank
        array([2., 1.])
    """
    fields = [field.name for field in dataclasses.fields(Ranking)]
    return Ranking(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in fields})


def _refuse_nan(scores: Float[np.ndarray, "s g"]) -> None:
    wrong = np.flatnonzero(np.isnan(scores).any(axis=1))
    if len(wrong):
        raise ValueError(f"{len(wrong)} of {len(scores)} rows of scores hold NaN and have no rank: rows {wrong[:100]}")


def _check_shapes(queries: Array | np.ndarray, gallery: Array | np.ndarray, names: tuple[str, str]) -> None:
    shapes = tuple(queries.shape), tuple(gallery.shape)
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"Embeddings must be matrices of one width; got {names[0]} {shapes[0]} and {names[1]} {shapes[1]}."
        )
    if 0 in shapes[0] + shapes[1]:
        raise ValueError(f"Nothing to rank: {names[0]} {shapes[0]}, {names[1]} {shapes[1]}.")


def _check_index(photo_index: Array | np.ndarray, sketches: int, photos: int) -> Int32[np.ndarray, " s"]:
    index = np.asarray(photo_index)
    if index.shape != (sketches,) or not np.issubdtype(index.dtype, np.integer):
        raise ValueError(
            f"photo_index must be integers of shape ({sketches},), one per row of sketches; "
            f"got {index.dtype} {index.shape}."
        )
    wrong = np.flatnonzero((index < 0) | (index >= photos))
    if len(wrong):
        listed = ", ".join(f"row {i}: {index[i]}" for i in wrong[:100])
        raise ValueError(
            f"{len(wrong)} entries of photo_index lie outside the {photos} rows of photos: {listed}"
            + (", ..." if len(wrong) > 100 else "")
        )
    return index.astype(np.int32)
