"""Rankings by scores of pairs: of the whole gallery, or of the encoder's shortlist; mixed with the encoder's cosine."""

import dataclasses
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int, Int32

from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.encoders.tokens import TokenRows
from effnet_jax.retrieval.metrics import reciprocal_rank
from effnet_jax.retrieval.ranking import Ranking, join_rankings, rank_scores, rerank
from effnet_jax.retrieval.scores import mix, unit_rows
from effnet_jax.stages.stage import Ranked

TOP = 10  # photos listed for each sketch
_WEIGHTS = np.linspace(0, 1, 21)  # that are tried


@runtime_checkable
class Scorer(Protocol):
    """Scores sketches with photos, higher is better; a BlockScorer, or one mixed with cosines."""

    def all_pairs(self, sketches: TokenRows, photos: TokenRows) -> Iterator[tuple[slice, Float32[np.ndarray, "b g"]]]:
        """Yield rows of scores: a slice of the sketches, and their scores with the whole gallery."""
        ...

    def shortlist(
        self, sketches: TokenRows, photos: TokenRows, chosen: Int[np.ndarray, "s m"]
    ) -> Float32[np.ndarray, "s m"]:
        """Score each sketch with the photos chosen for it only."""
        ...


class MixedScorer:
    """Scores mixed with the encoder's cosines.

    Args:
        scorer: gives the scores.
        embeddings: of the sketches and photos that it will be asked for.
        weight: of the scores, 0..1; at 1 the cosine plays no part.
        scale: brings scores to the spread of cosines.
    """

    def __init__(self, scorer: Scorer, embeddings: Embeddings, weight: float, scale: float):
        self._scorer, self._weight, self._scale = scorer, weight, scale
        self._sketches, self._photos = (unit_rows(rows) for rows in embeddings)

    def all_pairs(self, sketches: TokenRows, photos: TokenRows) -> Iterator[tuple[slice, Float32[np.ndarray, "b g"]]]:
        """Yield rows of mixed scores."""
        for rows, scores in self._scorer.all_pairs(sketches, photos):
            yield rows, mix(self._sketches[rows] @ self._photos.T, scores, self._weight, self._scale)

    def shortlist(
        self, sketches: TokenRows, photos: TokenRows, chosen: Int[np.ndarray, "s m"]
    ) -> Float32[np.ndarray, "s m"]:
        """Give mixed scores with the chosen photos."""
        cosines = np.einsum("sz,smz->sm", self._sketches, self._photos[chosen])
        return mix(cosines, self._scorer.shortlist(sketches, photos, chosen), self._weight, self._scale)


def choose_weight(
    scorer: Scorer,
    sketches: TokenRows,
    photos: TokenRows,
    truth: Int32[np.ndarray, " s"],
    *,
    embeddings: Embeddings,
    scale: float,
) -> float:
    """Give the weight of scores beside cosines, of 0, 0.05, 0.1, ... 1, that has the best MRR; of equals the least.

    Args:
        scorer: gives the scores.
        sketches: tokens, of held-out photos.
        photos: tokens.
        truth: row of each sketch's photo.
        embeddings: of both, for the cosines.
        scale: brings scores to the spread of cosines.
    """
    of_sketches, of_photos = (unit_rows(rows) for rows in embeddings)
    found = np.zeros(len(_WEIGHTS))
    for rows, scores in scorer.all_pairs(sketches, photos):
        cosines = of_sketches[rows] @ of_photos.T
        for i, weight in enumerate(_WEIGHTS):
            ranking = rank_scores(mix(cosines, scores, float(weight), scale), truth[rows], top=1)
            found[i] += reciprocal_rank(ranking.better, ranking.tied).sum()
    return float(_WEIGHTS[np.argmax(found.round(9))])


def say_weight(weight: float, *, chosen: bool, measured: str) -> str:
    """Tell a weight, and whether the figures beside it are those it was chosen by."""
    how = ", chosen on the held-out photos" if chosen else ""
    return f"weight {weight:g}{how}" + (" that are measured here," if chosen and measured == "validation" else "")


def rank_all(scorer: Scorer, sketches: TokenRows, photos: TokenRows, truth: Int32[np.ndarray, " s"]) -> Ranked:
    """Score every pair; a group of sketches at a time."""
    parts = [rank_scores(scores, truth[rows], top=TOP) for rows, scores in scorer.all_pairs(sketches, photos)]
    return Ranked(join_rankings(parts))


def rank_shortlist(
    scorer: Scorer,
    sketches: TokenRows,
    photos: TokenRows,
    truth: Int32[np.ndarray, " s"],
    *,
    first: Ranking,
    size: int,
    protocol: str,
    whole: str,
) -> Ranked:
    """Score the encoder's first photos anew; the others follow in its order.

    Args:
        scorer: gives the new scores.
        sketches: tokens.
        photos: tokens of the gallery.
        truth: row of each sketch's photo.
        first: the encoder's ranking, which lists at least as many photos.
        size: photos scored anew.
        protocol: its name.
        whole: name of the protocol that scores every pair, for the note.
    """
    chosen = first.top_index[:, :size]
    note = f"{protocol}: the encoder's first {chosen.shape[1]} photos, scored anew; the others follow in its order."
    if chosen.shape[1] == first.gallery_size:
        note = f"{protocol}: eval.shortlist holds the whole gallery, so this is {whole}."
    scores = scorer.shortlist(sketches, photos, chosen)
    return Ranked(rerank(shorten(first, chosen.shape[1]), scores, truth, top=TOP), notes=(note,))


def shorten(ranking: Ranking, top: int = TOP) -> Ranking:
    """List fewer photos for each sketch."""
    return dataclasses.replace(ranking, top_index=ranking.top_index[:, :top], top_score=ranking.top_score[:, :top])
