"""From ranks to the figures of a table: Acc@K, reciprocal and mean ranks, per tag, each with its counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int, Num

from effnet_jax.retrieval.intervals import photo_interval
from effnet_jax.retrieval.ranking import Ranking, credit_at_k, rank_sketches

KS = (1, 5, 10)


@dataclass(frozen=True)
class Measure:
    """A mean over queries and its 95 % interval, all from 0 to 1.

    Example:
        >>> from effnet_jax.retrieval.metrics import Measure
        >>> str(Measure(value=0.942, low=0.908, high=0.964))
        '94.2 [90.8, 96.4]'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """In percent: `94.2 [90.8, 96.4]`."""
        return f"{100 * self.value:.1f} [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class TagSummary:
    """The queries of one tag.

    Example:
        >>> from effnet_jax.retrieval.metrics import Measure, TagSummary
        >>> part = TagSummary(queries=40, accuracy={1: Measure(0.9, 0.77, 0.96)})
        >>> f"{part.queries} sketches, Acc@1 {part.accuracy[1]}"
        '40 sketches, Acc@1 90.0 [77.0, 96.0]'
    """

    queries: int
    accuracy: dict[int, Measure]


@dataclass(frozen=True)
class Summary:
    """What a ranking amounts to.

    Attributes:
        queries: number of queries.
        gallery: number of items searched.
        query_photos: number of photos that the queries belong to: what the intervals resample.
        accuracy: Acc@K by K, ascending.
        mrr: mean reciprocal rank, its expectation over random orders of ties.
        mean_rank: mean of expected ranks, from 1.
        median_rank: their median.
        tags: by tag, in code point order; empty without tags.
        notes: sentences a reader of the figures needs.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.metrics import summarise
        >>> from effnet_jax.retrieval.ranking import rank_scores
        >>> truth = np.array([0, 1, 2, 2])
        >>> summary = summarise(rank_scores(np.eye(3)[truth], truth), truth)
        >>> summary.queries, summary.gallery, summary.query_photos, summary.median_rank
        (4, 3, 3, 1.0)
        >>> summary.to_dict()["notes"]
        ['Acc@5, Acc@10 left out: the gallery offers 3 candidates.']
    """

    queries: int
    gallery: int
    query_photos: int
    accuracy: dict[int, Measure]
    mrr: Measure
    mean_rank: float
    median_rank: float
    tags: dict[str, TagSummary]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: shares from 0 to 1, intervals as [low, high]."""
        return {
            "queries": self.queries,
            "gallery": self.gallery,
            "query_photos": self.query_photos,
            **_accuracies(self.accuracy),
            "mrr": _plain(self.mrr),
            "mean_rank": self.mean_rank,
            "median_rank": self.median_rank,
            "tags": {tag: {"queries": part.queries, **_accuracies(part.accuracy)} for tag, part in self.tags.items()},
            "notes": list(self.notes),
        }


def _plain(measure: Measure) -> dict[str, Any]:
    return {"value": measure.value, "interval_95": [measure.low, measure.high]}


def _accuracies(accuracy: dict[int, Measure]) -> dict[str, Any]:
    return {f"acc@{k}": _plain(measure) for k, measure in accuracy.items()}


def reciprocal_rank(better: Int[np.ndarray, " s"], tied: Int[np.ndarray, " s"]) -> Float[np.ndarray, " s"]:
    """Mean of 1 / rank over random orders of the ties: ranks better + 1 to better + tied + 1 are equally likely.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.metrics import reciprocal_rank
        >>> reciprocal_rank(better=np.array([0, 3, 0]), tied=np.array([0, 0, 1]))  # first, fourth, first or second
        array([1.  , 0.25, 0.75])
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, np.max(better + tied) + 2))])
    return np.where(tied == 0, 1 / (better + 1.0), (harmonic[better + tied + 1] - harmonic[better]) / (tied + 1))


def summarise(
    ranking: Ranking,
    photos: Int[np.ndarray, " s"],
    *,
    gallery: int | None = None,
    tags: Sequence[str] | None = None,
    ks: Sequence[int] = KS,
    notes: Sequence[str] = (),
) -> Summary:
    """Measure a ranking.

    Args:
        ranking: of every query.
        photos: the photo each query belongs to; intervals keep its queries together.
        gallery: number of items searched, where it exceeds `ranking.gallery_size`.
        tags: one per query, such as the designer.
        ks: values of K. Those beyond the gallery are left out, with a note.
        notes: further notes.

    Raises:
        ValueError: lengths that differ, or K < 1.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.metrics import summarise
        >>> from effnet_jax.retrieval.ranking import rank_scores
        >>> truth = np.arange(20)
        >>> scores = np.eye(20)[(truth + (truth < 3)) % 20]  # the first three sketches look like the next photo
        >>> summary = summarise(rank_scores(scores, truth), truth, ks=[1, 5], tags=["a", "b"] * 10)
        >>> str(summary.accuracy[1]), summary.tags["a"].queries
        ('85.0 [61.7, 95.2]', 10)
    """
    queries = len(ranking.better)
    if len(photos) != queries or (tags is not None and len(tags) != queries):
        given = f"{len(photos)} photos" + ("" if tags is None else f" and {len(tags)} tags")
        raise ValueError(f"Give one photo and one tag per query: {queries} queries, {given}.")
    meaningful = sorted({k for k in ks if k <= ranking.gallery_size})
    left_out = sorted(set(ks) - set(meaningful))
    notes = list(notes)
    if left_out:
        names = ", ".join(f"Acc@{k}" for k in left_out)
        notes.append(f"{names} left out: the gallery offers {ranking.gallery_size} candidates.")
    credits = {k: credit_at_k(ranking.better, ranking.tied, k) for k in meaningful}

    def measure(values: np.ndarray, rows: np.ndarray | slice = slice(None)) -> Measure:
        return Measure(float(values[rows].mean()), *photo_interval(values[rows], photos[rows]))

    by_tag = {}
    for tag in sorted(set(tags or ())):
        rows = np.flatnonzero(np.asarray(tags) == tag)
        by_tag[tag] = TagSummary(len(rows), {k: measure(values, rows) for k, values in credits.items()})
    return Summary(
        queries=queries,
        gallery=ranking.gallery_size if gallery is None else gallery,
        query_photos=len(np.unique(photos)),
        accuracy={k: measure(values) for k, values in credits.items()},
        mrr=measure(reciprocal_rank(ranking.better, ranking.tied)),
        mean_rank=float(ranking.rank.mean()),
        median_rank=float(np.median(ranking.rank)),
        tags=by_tag,
        notes=tuple(notes),
    )


def photo_to_sketch(
    sketches: Num[Array | np.ndarray, "s z"],
    photos: Num[Array | np.ndarray, "g z"],
    photo_index: Int[np.ndarray, " s"],
    *,
    ks: Sequence[int] = KS,
) -> Summary:
    """Measure the other direction: each photo with a sketch is a query, and finds its best-ranked own sketch.

    A photo's further own sketches do not compete. Photos without a sketch are no queries, and counted in a note.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.metrics import photo_to_sketch
        >>> photos = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> sketches = np.array([[2.0, 1.0], [0.0, 1.0], [0.1, 1.0]])  # of photos 0, 1 and 1
        >>> summary = photo_to_sketch(sketches, photos, np.array([0, 1, 1]), ks=[1])
        >>> summary.accuracy[1].value, summary.notes[-1]
        (1.0, '1 of 3 photos have no sketch and ask nothing.')
    """
    ranking, queries = rank_sketches(photos, sketches, photo_index, top=0)
    notes = ["Photo to sketch: rank of the photo's best-ranked own sketch; its other own sketches do not compete."]
    if len(queries) < len(photos):
        notes.append(f"{len(photos) - len(queries)} of {len(photos)} photos have no sketch and ask nothing.")
    return summarise(ranking, queries, gallery=len(sketches), ks=ks, notes=notes)
