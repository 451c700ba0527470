from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from effnet_jax.retrieval.difference import bootstrap_interval, holm, paired_difference, sign_flip_test


def flip(sums, flips=2000, seed=0):
    return sign_flip_test(np.asarray(sums, float), flips, np.random.default_rng(seed))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=30))
def test_identical_answers_differ_by_exactly_nothing(queries):
    values, photos = np.array([q[0] for q in queries]), np.array([q[1] for q in queries])
    found = paired_difference(values, values.copy(), photos, resamples=50, flips=50)
    assert (found.value, found.low, found.high, found.p_value, found.photos) == (0.0, 0.0, 0.0, 1.0, 0)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 20))
def test_exchanging_the_systems_changes_the_sign_only(seed, photos):
    random = np.random.default_rng(seed)
    first, second = random.integers(0, 2, (2, 3 * photos)).astype(float)
    photo = random.integers(0, photos, 3 * photos)
    there = paired_difference(first, second, photo, resamples=400, flips=400)
    back = paired_difference(second, first, photo, resamples=400, flips=400)
    assert back.value == -there.value
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=1e-9)
    assert back.p_value == there.p_value
    assert there.low <= there.value + 0.2 and there.high >= there.value - 0.2


def test_the_order_of_the_queries_does_not_matter():
    random = np.random.default_rng(1)
    first, second = random.random((2, 60))
    photo = random.integers(0, 20, 60)
    order = random.permutation(60)
    there = paired_difference(first, second, photo, resamples=500, flips=500)
    again = paired_difference(first[order], second[order], photo[order], resamples=500, flips=500)
    assert again.value == pytest.approx(there.value, abs=1e-12)
    assert (again.low, again.high) == pytest.approx((there.low, there.high), abs=1e-9)
    assert again.p_value == there.p_value


@pytest.mark.parametrize("sums", [[1.0], [1, -1], [2, 1, 0, 0], [3, 3, -1, 0.5], [1] * 9, [0.25, -0.5, 1, 1, 1, 0]])
def test_few_photos_are_counted_out_exactly(sums):
    nonzero = [s for s in sums if s]
    patterns = [
        abs(sum(sign * s for sign, s in zip(signs, nonzero, strict=True)))
        for signs in product((1, -1), repeat=len(nonzero))
    ]
    expected = np.mean(np.array(patterns) >= abs(sum(nonzero)) - 1e-9)
    assert flip(sums) == pytest.approx(expected, abs=1e-12)


def test_random_signs_come_close_to_all_of_them(monkeypatch):
    sums = np.random.default_rng(3).integers(-2, 4, 14).astype(float)
    sums[sums == 0] = 1
    exact = flip(sums)
    monkeypatch.setattr("effnet_jax.retrieval.difference._EXACT_PHOTOS", 0)
    assert flip(sums, flips=20_000) == pytest.approx(exact, abs=0.012)


def test_with_one_sketch_per_photo_the_sign_test_is_mcnemars():
    """Differences of +-1 make the sign-flip test the exact binomial test of wins against losses."""
    random = np.random.default_rng(5)
    for wins, losses in ((9, 2), (5, 5), (7, 0), (1, 3)):
        first = np.array([1.0] * wins + [0.0] * losses + [1.0] * 20)
        second = np.array([0.0] * wins + [1.0] * losses + [1.0] * 20)
        order = random.permutation(len(first))
        found = paired_difference(first[order], second[order], np.arange(len(first)), resamples=100)
        assert found.p_mcnemar == pytest.approx(binomtest(wins, wins + losses).pvalue)
        assert found.p_value == pytest.approx(found.p_mcnemar)


def test_mcnemar_is_left_out_where_it_does_not_hold():
    ones = np.ones(4)
    assert paired_difference(ones, 0 * ones, np.array([0, 1, 2, 2]), resamples=50).p_mcnemar is None
    assert paired_difference(ones / 2, 0 * ones, np.arange(4), resamples=50).p_mcnemar is None
    assert paired_difference(ones, ones, np.arange(4), resamples=50).p_mcnemar == 1.0


def test_sketches_of_one_photo_do_not_count_as_many():
    """Ten photos with ten sketches each that all agree know as much as ten sketches."""
    random = np.random.default_rng(7)
    first, second = random.integers(0, 2, (2, 10)).astype(float)
    alone = paired_difference(first, second, np.arange(10), resamples=4000)
    many = paired_difference(first.repeat(10), second.repeat(10), np.arange(10).repeat(10), resamples=4000)
    assert many.value == alone.value
    assert (many.low, many.high) == pytest.approx((alone.low, alone.high), abs=0.04)  # not a third as wide
    assert many.p_value == alone.p_value


def test_one_photo_says_nothing_of_others():
    found = paired_difference(np.ones(3), np.zeros(3), np.zeros(3, int))
    assert (found.low, found.high, found.p_value) == (-1.0, 1.0, 1.0)


def test_a_difference_on_every_query_is_not_certain():
    found = paired_difference(np.ones(40), np.zeros(40), np.arange(40))
    assert found.value == found.high == 1.0
    assert 0.9 < found.low < 1


def test_the_interval_is_that_of_the_mean_for_many_photos():
    sums = np.random.default_rng(0).normal(0.1, 1, 500)
    low, high = bootstrap_interval(np.ones(500), sums, 4000, np.random.default_rng(1))
    error = sums.std(ddof=1) / 500**0.5
    assert (low, high) == pytest.approx((sums.mean() - 1.96 * error, sums.mean() + 1.96 * error), abs=0.012)


def test_memory_is_kept_small_by_blocks(monkeypatch):
    sizes, sums = np.ones(50), np.random.default_rng(0).normal(0.2, 1, 50)
    once = bootstrap_interval(sizes, sums, 600, np.random.default_rng(1))
    monkeypatch.setattr("effnet_jax.retrieval.difference._BLOCK", 50 * 7)
    assert bootstrap_interval(sizes, sums, 600, np.random.default_rng(1)) == pytest.approx(once, abs=1e-12)


def simulated(sets, kind, seed):
    """Pairs of equally good systems on 40 photos with 90 sketches."""
    random = np.random.default_rng(seed)
    photo = np.concatenate([np.arange(40), random.integers(0, 40, 50)])
    for _ in range(sets):
        shared = 0.55 * random.standard_normal(40)[photo] + 0.6 * random.standard_normal(90)
        scores = shared + 0.58 * random.standard_normal((2, 90))
        yield photo, (scores < 0.4).astype(float) if kind == "hits" else 1 / (1 + np.exp(-scores))


@pytest.mark.parametrize("kind", ["hits", "reciprocal ranks"])
def test_the_level_of_the_test_and_the_coverage_of_the_interval(kind):
    """The truth is 0: how often does the test reject it at 5 %, and how often does the interval hold it?"""
    sets, rejected, held = 400, 0, 0
    for photo, (first, second) in simulated(sets, kind, seed=11):
        found = paired_difference(first, second, photo, resamples=400, flips=400)
        rejected += found.p_value <= 0.05
        held += found.low <= 0 <= found.high
    low, high = binom.ppf([0.0005, 0.9995], sets, 0.05)
    assert rejected <= high
    if kind == "reciprocal ranks":  # hits come in steps, so that the test there errs to the safe side
        assert rejected >= low
    assert held >= binom.ppf(0.0005, sets, 0.93)
    assert held <= binom.ppf(0.9995, sets, 0.97)


def test_a_real_difference_is_found():
    random = np.random.default_rng(2)
    first = (random.random(300) < 0.8).astype(float)
    second = (random.random(300) < 0.6).astype(float)
    found = paired_difference(first, second, np.arange(300) // 2)
    assert 0 < found.low < found.value < found.high
    assert found.p_value < 0.001


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]), ([0.5], [0.5]), ([0.9, 0.8], [1.0, 1.0]), ([0.02, 0.02], [0.04, 0.04])],
)
def test_holm(p_values, adjusted):
    np.testing.assert_allclose(holm(np.array(p_values)), adjusted)


@pytest.mark.usefixtures("unchecked")
def test_refuses_what_cannot_be_compared():
    with pytest.raises(ValueError, match=r"\(3,\), \(2,\)"):
        paired_difference(np.ones(3), np.ones(2), np.arange(3))
    with pytest.raises(ValueError, match="finite"):
        paired_difference(np.array([np.nan, 1]), np.ones(2), np.arange(2))
    with pytest.raises(ValueError, match="photo of each query"):
        paired_difference(np.ones(0), np.ones(0), np.arange(0))
