"""Acc@K against K with its 95 % interval, of one evaluation."""

import numpy as np
from jaxtyping import Float, Int

from effnet_jax.retrieval.intervals import photo_interval
from effnet_jax.retrieval.ranking import Ranking, credit_at_k


def accuracy_curve(
    ranking: Ranking, photos: Int[np.ndarray, " s"], ks: Int[np.ndarray, " k"]
) -> Float[np.ndarray, "3 k"]:
    """Acc@K, and the lower and upper end of its interval, from 0 to 1.

    Args:
        ranking: of every query.
        photos: which photo each query belongs to; its queries stay together.
        ks: values of K, 1 to the gallery.
    """
    points = []
    for k in ks.tolist():
        credits = credit_at_k(ranking.better, ranking.tied, k)
        points.append((credits.mean(), *photo_interval(credits, photos)))
    return np.array(points).T
