import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.retrieval.intervals import cluster_intervals, photo_interval


@pytest.mark.parametrize("accuracy", [0.7, 0.94, 0.97])
@pytest.mark.parametrize(("photos", "sketches", "correlation"), [(120, 275, 0.0), (120, 275, 0.4), (97, 97, 0.0)])
def test_coverage(accuracy, photos, sketches, correlation):
    """A fast slice of benchmarks/interval_coverage.py: 4,000 test sets (two standard errors: 0.7 points)."""
    rng = np.random.default_rng(0)
    sizes = 1.0 + np.bincount(rng.integers(0, photos, sketches - photos), minlength=photos)
    chance = np.full((4000, photos), accuracy)
    if correlation:
        scale = 1 / correlation - 1
        chance = rng.beta(accuracy * scale, (1 - accuracy) * scale, chance.shape)
    hits = rng.binomial(sizes.astype(int), chance).astype(float)
    low, high = cluster_intervals(sizes, hits, hits)
    covered = ((low <= accuracy) & (accuracy <= high)).mean()
    assert 0.935 <= covered <= 0.985


def test_two_intervals_worked_out_by_hand():
    """Four photos with two sketches each, so n = 8, and the design effect of fully clustered photos is 16 / 8 = 2."""
    hits = np.array([[2.0, 2, 2, 0], [1, 1, 1, 1]])
    low, high = cluster_intervals(np.full(4, 2.0), hits, hits)
    # First: between photos 4/3 * 3/64 = 1/16, independent 3/16 / 7, so the observed design effect is 7/3, and with
    # 2 failures (2 * 7/3 + 0.5 * 2) / 2.5 = 34/15. Second: no variance between photos, so the observed one is raised to
    # 1, and with 4 failures it is (4 * 1 + 0.5 * 2) / 4.5 = 10/9. Hits vary by mean * (1 - mean) * n / (n - 1): 8 -> 7.
    t = 3.182446305284263  # Student's 97.5 % with 3 degrees of freedom
    for row, (mean, n) in enumerate(((3 / 4, 7 * 15 / 34), (1 / 2, 7 * 9 / 10))):
        centre, half = mean + t**2 / (2 * n), t * np.sqrt(mean * (1 - mean) / n + t**2 / (4 * n**2))
        expected = [max(0, (centre - half) / (1 + t**2 / n)), min(1, (centre + half) / (1 + t**2 / n))]
        np.testing.assert_allclose([low[row], high[row]], expected, rtol=1e-12)


def test_coverage_of_reciprocal_ranks():
    rng = np.random.default_rng(1)
    values = 1 / rng.geometric(rng.beta(8, 2, (3000, 120, 1)).clip(0.02), (3000, 120, 2))
    truth = values.mean()
    low, high = cluster_intervals(np.full(120, 2.0), values.sum(2), (values**2).sum(2))
    assert 0.935 <= ((low <= truth) & (truth <= high)).mean() <= 0.97


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_and_all_wrong_are_not_certain(value):
    photos = np.repeat(np.arange(120), 2)
    low, high = photo_interval(np.full(240, value), photos)
    assert low <= value <= high
    assert 0.01 < high - low < 0.05
    # Twice as many sketches of the same photos do not make it narrower; twice as many photos do.
    assert photo_interval(np.full(480, value), np.repeat(np.arange(120), 4)) == pytest.approx((low, high))
    more = photo_interval(np.full(480, value), np.repeat(np.arange(240), 2))
    assert more[1] - more[0] < 0.6 * (high - low)


def test_sketches_that_stand_and_fall_together_count_once():
    rng = np.random.default_rng(0)
    by_photo = (rng.random(100) < 0.8).astype(float)
    once = photo_interval(by_photo, np.arange(100))
    thrice = photo_interval(np.repeat(by_photo, 3), np.repeat(np.arange(100), 3))
    assert thrice == pytest.approx(once, abs=0.005)
    apart = photo_interval(np.repeat(by_photo, 3), np.arange(300))
    assert apart[1] - apart[0] < 0.7 * (once[1] - once[0])


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 6)), min_size=1, max_size=40), st.randoms())
def test_holds_the_mean_and_ignores_order_and_names(queries, random):
    values, photos = np.array([v for v, _ in queries]), np.array([p for _, p in queries])
    low, high = photo_interval(values, photos)
    assert 0 <= low <= values.mean() + 1e-12
    assert values.mean() - 1e-12 <= high <= 1
    order = random.sample(range(len(queries)), len(queries))
    assert photo_interval(values[order], 1000 - photos[order]) == pytest.approx((low, high), abs=1e-6)


def test_one_photo_says_nothing_about_others():
    assert photo_interval(np.array([1.0, 0, 1]), np.zeros(3, int)) == (0, 1)


def test_takes_milliseconds():
    rng = np.random.default_rng(0)
    values, photos = rng.random(100_000), rng.integers(0, 20_000, 100_000)
    start = time.perf_counter()
    photo_interval(values, photos)
    assert time.perf_counter() - start < 0.5


@pytest.mark.usefixtures("unchecked")
def test_refuses_what_is_not_a_share():
    with pytest.raises(ValueError, match=r"\[0, 1\]; got 0.5 to 3"):
        photo_interval(np.array([0.5, 3.0]), np.arange(2))
    with pytest.raises(ValueError, match="one photo per value"):
        photo_interval(np.ones(2), np.arange(3))
    with pytest.raises(ValueError, match="level"):
        photo_interval(np.ones(2), np.arange(2), level=95)
