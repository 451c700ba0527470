"""The published evaluation of TRSM, for comparison only: its scores depend on the order of the queries.

Sketch i of a block of g sketches passes through TRSM beside photo i of the gallery, whatever they show; the embeddings
so made are compared within the block. The last block is filled up with black pictures. Another order of the queries
gives other scores, so nothing can be indexed, and the spread over orders belongs to the figure.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float32, Int

from effnet_jax.encoders.tokens import TokenRows
from effnet_jax.models.trsm import TRSM, FunctionalTRSM, PairEncoding
from effnet_jax.retrieval.metrics import KS
from effnet_jax.retrieval.ranking import Ranking, accuracy_at_k, rank_scores
from effnet_jax.retrieval.scores import unit_rows
from effnet_jax.stages.block_scorer import PHOTO_BLOCK

Params = dict[str, Any]


def paired_scores(
    trsm: FunctionalTRSM,
    params: Params,
    sketches: TokenRows,
    photos: TokenRows,
    order: Int[np.ndarray, " s"],
    black: Float[np.ndarray, "1 n d"],
) -> Float32[np.ndarray, "s g"]:
    """Score as the published evaluation does.

    Args:
        trsm: pure functions of TRSM.
        params: its parameters.
        sketches: tokens of the sketches.
        photos: tokens of the gallery.
        order: a permutation of the sketches.
        black: tokens of a black picture.

    Returns:
        Cosines, rows in the sketches' own order.
    """
    encode = _encoder(trsm)
    g = len(photos)
    scores = np.empty((len(sketches), g), np.float32)
    for start in range(0, len(order), g):
        rows = order[start : start + g]
        photo_parts, sketch_parts = [], []
        for i in range(0, g, PHOTO_BLOCK):
            beside = photos[i : i + PHOTO_BLOCK]
            real = rows[i : i + PHOTO_BLOCK]
            filling = np.repeat(black, len(beside) - len(real), axis=0)
            pair = encode(params, beside, np.concatenate([sketches[real], filling]) if len(real) else filling)
            photo_parts.append(np.asarray(pair.photo_embedding))
            sketch_parts.append(np.asarray(pair.sketch_embedding))
        photo, sketch = unit_rows(np.concatenate(photo_parts)), unit_rows(np.concatenate(sketch_parts)[: len(rows)])
        scores[rows] = sketch @ photo.T
    return scores


@lru_cache(maxsize=4)  # compiled once for all orders and checkpoints
def _encoder(trsm: FunctionalTRSM) -> Callable[..., PairEncoding]:
    return jax.jit(trsm.call(TRSM.__call__))


def rank_paired(
    trsm: FunctionalTRSM,
    params: Params,
    sketches: TokenRows,
    photos: TokenRows,
    photo_index: Int[np.ndarray, " s"],
    *,
    black: Float[np.ndarray, "1 n d"],
    shuffles: int,
    ks: Sequence[int] = KS,
) -> tuple[Ranking, str]:
    """Rank by the published evaluation under several seeded orders of the queries.

    Args:
        trsm: pure functions of TRSM.
        params: its parameters.
        sketches: tokens of the sketches.
        photos: tokens of the gallery.
        photo_index: row of each sketch's photo.
        black: tokens of a black picture.
        shuffles: orders.
        ks: of Acc@K in the note; those beyond the gallery are left out.

    Returns:
        The ranking of the first order, and a note with the spread of Acc@K over all of them.
    """
    rankings = []
    for seed in range(shuffles):
        order = np.random.default_rng(seed).permutation(len(sketches))
        rankings.append(rank_scores(paired_scores(trsm, params, sketches, photos, order, black), photo_index))
    spread = []
    for k in (k for k in ks if k <= len(photos)):
        values = [100 * accuracy_at_k(ranking, k) for ranking in rankings]
        spread.append(f"Acc@{k} {min(values):.1f} to {max(values):.1f}, mean {np.mean(values):.1f}")
    note = (
        "paired: the published protocol, for comparison only; its scores depend on the order of the queries. "
        f"The figures are those of seed 0; over {shuffles} seeded orders: " + "; ".join(spread) + "."
    )
    return rankings[0], note
