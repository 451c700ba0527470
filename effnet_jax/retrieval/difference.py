"""Is one system better than another on the same queries? Intervals and tests that keep the sketches of a photo whole.

Both systems answered the same queries, so what counts is each query's difference. Sketches of one photo succeed and
fail together, so photos are resampled, and signs are flipped photo by photo.

* The 95 % interval is the percentile bootstrap over photos, its quantiles moved outwards by what the plain one lacks
  with few photos (Hesterberg's expanded percentile interval). Source: Hesterberg, "What Teachers Should Know About the
  Bootstrap", The American Statistician 69 (2015). Where the systems differ on few photos, these are too few to show how
  differences vary: half a query's difference, its photo's queries together, is added to their spread, as for failures
  in effnet_jax/retrieval/intervals.py. Without it, coverage falls to 91 % where 4 of 97 queries differ.
* The p-value is that of the sign-flip permutation test: if both systems were alike, each photo's difference could as
  well have had the other sign. All sign patterns are counted where they are few, else random ones. Differences of
  Acc@K come in steps, so that this test errs to the safe side there.
* McNemar's exact test is given where it holds: one sketch per photo, and every query plainly a hit or a miss.

Coverage and level by simulation: `python benchmarks/comparison_level.py`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtr, stdtrit
from scipy.stats import binomtest

LEVEL = 0.95
RESAMPLES = 10_000
FLIPS = 20_000
_EXACT_PHOTOS = 14  # up to here all 2^m sign patterns are fewer than FLIPS
_BLOCK = 4_000_000  # numbers held at a time
_PRIOR_QUERIES = 0.5
_ROUNDING = 1e-9  # sums of the same differences in another order


@dataclass(frozen=True)
class Difference:
    """Mean of a measure of one system minus that of another.

    Attributes:
        value: -1..1.
        low: lower end of the 95 % interval.
        high: upper end.
        p_value: of the sign-flip permutation test, two-sided.
        p_mcnemar: of McNemar's exact test; None where it does not hold.
        photos: photos on which the systems differ.

    Example:
        >>> from effnet_jax.retrieval.difference import Difference
        >>> Difference(0.1, low=0.02, high=0.18, p_value=0.03, p_mcnemar=None, photos=12).to_dict()["interval_95"]
        [0.02, 0.18]
    """

    value: float
    low: float
    high: float
    p_value: float
    p_mcnemar: float | None
    photos: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "value": self.value,
            "interval_95": [self.low, self.high],
            "p_sign_flip": self.p_value,
            "p_mcnemar": self.p_mcnemar,
            "photos_that_differ": self.photos,
        }


def paired_difference(
    first: Float[np.ndarray, " s"],
    second: Float[np.ndarray, " s"],
    photos: Int[np.ndarray, " s"],
    *,
    resamples: int = RESAMPLES,
    flips: int = FLIPS,
    seed: int = 0,
) -> Difference:
    """Compare two systems on the same queries.

    Identical answers give a difference and an interval of exactly 0, and a p-value of 1.

    Args:
        first: value of each query, 0..1, such as its credit at K.
        second: the same of the other system, in the same order.
        photos: which photo a query belongs to, any integers.
        resamples: bootstrap samples of photos.
        flips: random sign patterns, where all of them are too many.
        seed: of both.

    Raises:
        ValueError: lengths that differ, no queries, or values that are not finite.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.difference import paired_difference
        >>> first = np.repeat([1.0, 0.0], [80, 20])  # hits and misses of 100 sketches
        >>> second = np.repeat([1.0, 0.0], [70, 30])
        >>> found = paired_difference(first, second, photos=np.arange(100))
        >>> round(found.value, 3), round(found.p_value, 3), found.photos
        (0.1, 0.002, 10)
    """
    if not (first.shape == second.shape == np.shape(photos)) or not len(first):
        raise ValueError(
            f"Give both values and the photo of each query: {first.shape}, {second.shape}, {np.shape(photos)}."
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("Values must be finite.")
    _, cluster = np.unique(photos, return_inverse=True)
    sizes = np.bincount(cluster).astype(np.float64)
    sums = np.bincount(cluster, first - second)  # exactly 0 where all answers of a photo are the same
    generator = np.random.default_rng(seed)
    low, high = bootstrap_interval(sizes, sums, resamples, generator)
    return Difference(
        value=float(sums.sum() / sizes.sum()),
        low=low,
        high=high,
        p_value=sign_flip_test(sums, flips, generator),
        p_mcnemar=_mcnemar(first, second) if (sizes == 1).all() else None,
        photos=int((sums != 0).sum()),
    )


def bootstrap_interval(
    sizes: Float[np.ndarray, " c"],
    sums: Float[np.ndarray, " c"],
    resamples: int,
    generator: np.random.Generator,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Expanded percentile interval of sums.sum() / sizes.sum() over resampled photos.

    Args:
        sizes: queries of each photo.
        sums: sum of the differences of each photo's queries.
        resamples: bootstrap samples.
        generator: of the samples.
        level: nominal coverage, 0..1.

    Returns:
        Both ends. One photo alone says nothing about others: (-1, 1).

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.difference import bootstrap_interval
        >>> sums = np.repeat([1.0, 0.0], [10, 90])  # better on ten of 100 photos, on none worse
        >>> low, high = bootstrap_interval(np.ones(100), sums, 10_000, np.random.default_rng(0))
        >>> round(low, 2), round(high, 2)
        (0.04, 0.16)
    """
    photos = len(sizes)
    if not sums.any():
        return 0.0, 0.0
    if photos < 2:
        return -1.0, 1.0
    draws = []
    for count in _blocks(resamples, photos):
        drawn = generator.integers(0, photos, (count, photos), np.int32)  # (r, c)
        draws.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    t = stdtrit(photos - 1, (1 + level) / 2)
    tail = ndtr(-np.sqrt(photos / (photos - 1)) * t)
    ends = np.quantile(np.concatenate(draws), [tail, 1 - tail])
    queries = sizes.sum()
    value = sums.sum() / queries
    variance = ((sums - value * sizes) ** 2).sum() / queries**2
    unseen = _PRIOR_QUERIES * (sizes**2).sum() / queries**3
    if variance < 1e-15:  # one system always right and the other always wrong
        away = t * np.sqrt(unseen) * np.array([-1, 1])
    else:
        away = np.sqrt(1 + unseen / variance) * (ends - value)
    low, high = np.clip(value + away, -1, 1)
    return float(low), float(high)


def sign_flip_test(sums: Float[np.ndarray, " c"], flips: int, generator: np.random.Generator) -> float:
    """Two-sided p-value of the mean difference when each photo's sign is a coin's.

    Args:
        sums: sum of the differences of each photo's queries.
        flips: random sign patterns, where all of them are more.
        generator: of the signs.

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.difference import sign_flip_test
        >>> sign_flip_test(np.ones(4), 1000, np.random.default_rng(0))  # all four alike: 2 of 16 patterns
        0.125
    """
    sums = sums[sums != 0]
    observed = abs(sums.sum()) - _ROUNDING
    if len(sums) <= _EXACT_PHOTOS:
        patterns = np.arange(2 ** len(sums))
        signs = 1 - 2.0 * (patterns[:, None] >> np.arange(len(sums)) & 1)  # (2^m, m)
        return float((np.abs(signs @ sums) >= observed).mean())
    extreme = 0
    for count in _blocks(flips, len(sums)):
        signs = 1 - 2.0 * generator.integers(0, 2, (count, len(sums)), np.int8)
        extreme += int((np.abs(signs @ sums) >= observed).sum())
    return (extreme + 1) / (flips + 1)


def holm(p_values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Adjust p-values of several comparisons, so that one false alarm among all of them keeps the level (Holm 1979).

    Example:
        >>> import numpy as np
        >>> from effnet_jax.retrieval.difference import holm
        >>> holm(np.array([0.01, 0.04, 0.03]))  # times 3, 1 and 2, and never below a smaller one's
        array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p_values, kind="stable")
    stepped = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def _mcnemar(first: Float[np.ndarray, " s"], second: Float[np.ndarray, " s"]) -> float | None:
    if not (np.isin(first, (0, 1)).all() and np.isin(second, (0, 1)).all()):
        return None
    wins, losses = int((first > second).sum()), int((first < second).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _blocks(total: int, width: int) -> list[int]:
    rows = max(1, _BLOCK // max(1, width))
    return [min(rows, total - start) for start in range(0, total, rows)]
