"""Ranks and accuracies recorded from the reference (rankings with exact ties, see meta in the file)."""

from pathlib import Path

import numpy as np
import pytest

from effnet_jax.retrieval.ranking import accuracy_at_k, rank_gallery

GOLDENS = Path(__file__).parent / "goldens" / "ranking.npz"


@pytest.fixture(scope="module")
def goldens():
    with np.load(GOLDENS, allow_pickle=False) as file:
        return dict(file)


def test_quantised_ranks_are_exact(goldens):
    part = {name.removeprefix("quantised/"): value for name, value in goldens.items()}
    ranking = rank_gallery(part["query"], part["gallery"], goldens["labels"], normalise=False)
    np.testing.assert_array_equal(1 + ranking.better, part["rank_strict"])
    np.testing.assert_array_equal(ranking.tied, part["n_other_ties"])
    # The reference's order among ties is arbitrary; ours is the expectation over that order.
    assert (part["rank"] >= 1 + ranking.better).all()
    assert (part["rank"] <= 1 + ranking.better + ranking.tied).all()
    np.testing.assert_array_equal(ranking.top_score, -np.sort(-part["sim"], axis=1)[:, :10])
    np.testing.assert_array_equal(ranking.top_index, np.argsort(-part["sim"], axis=1, kind="stable")[:, :10])


@pytest.mark.parametrize("normalise", [False, True])
def test_float_ranks(goldens, normalise):
    """The recorded features have unit norm, so that cosine and product rank alike (exact ties: equal gallery rows)."""
    part = {name.removeprefix("float/"): value for name, value in goldens.items()}
    ranking = rank_gallery(part["query"], part["gallery"], goldens["labels"], normalise=normalise)
    np.testing.assert_array_equal(1 + ranking.better, part["rank_strict"])
    np.testing.assert_array_equal(ranking.tied, part["n_other_ties"])
    np.testing.assert_allclose(ranking.top_score, -np.sort(-part["sim"], axis=1)[:, :10], atol=1e-6)


@pytest.mark.parametrize("kind", ["float", "quantised"])
def test_accuracies(goldens, kind):
    ranking = rank_gallery(goldens[f"{kind}/query"], goldens[f"{kind}/gallery"], goldens["labels"], normalise=False)
    tied = ranking.tied > 0
    for k, recorded in zip((1, 5, 10), goldens[f"{kind}/acc"], strict=True):
        # The reference counted one arbitrary order: it lies between truth last and truth first among the ties.
        first, last = ranking.better < k, ranking.better + ranking.tied < k
        assert 100 * last.mean() - 1e-3 <= recorded <= 100 * first.mean() + 1e-3
        assert last.mean() <= accuracy_at_k(ranking, k) <= first.mean()
        np.testing.assert_array_equal(first[~tied], goldens[f"{kind}/rank"][~tied] <= k)
