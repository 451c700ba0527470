"""Do the interval and the test of `effnet-jax compare` hold what they promise? Simulated pairs of systems.

    python benchmarks/comparison_level.py [--sets 2000] [--resamples 1000]

A query succeeds where a normal score falls below a threshold. The score is the sum of a part of its photo (0.3 of the
variance), a part of the query (0.4), both shared by the two systems, and a part of each system (0.3); the thresholds
set both accuracies. Printed, in %: coverage of the 95 % interval of the difference, its mean width, how often the
sign-flip test and McNemar's (one sketch a photo) reject at 5 %, which is the level where both systems are equally good.
"""

import argparse
import time

import numpy as np
from scipy.special import ndtri

from effnet_jax.retrieval.difference import paired_difference

SHAPES = {"120 photos, 275 sketches": (120, 275), "97 photos, 97 sketches": (97, 97), "200 photos, 666": (200, 666)}
ACCURACIES = ((0.40, 0.40), (0.70, 0.70), (0.70, 0.75), (0.94, 0.94), (0.94, 0.97))
PHOTO_PART, QUERY_PART = 0.3, 0.4


def simulate(generator, photos, sketches, first, second):
    """Photo of each query, and the hits of both systems, in one simulated test set."""
    extra = np.random.default_rng(5).integers(0, photos, sketches - photos)
    photo = np.sort(np.concatenate([np.arange(photos), extra]))
    shared = PHOTO_PART**0.5 * generator.standard_normal(photos)[photo]
    shared = shared + QUERY_PART**0.5 * generator.standard_normal(sketches)
    own = (1 - PHOTO_PART - QUERY_PART) ** 0.5
    hits = [shared + own * generator.standard_normal(sketches) < ndtri(accuracy) for accuracy in (first, second)]
    return photo, hits[0].astype(np.float64), hits[1].astype(np.float64)


def measure(generator, photos, sketches, first, second, sets, resamples):
    """Coverage, mean width, and the share of sets in which each test rejects (None without McNemar)."""
    held, width, rejected, mcnemar = 0, 0.0, 0, 0
    for seed in range(sets):
        photo, one, other = simulate(generator, photos, sketches, first, second)
        found = paired_difference(one, other, photo, resamples=resamples, flips=resamples, seed=seed)
        held += found.low <= first - second + 1e-12 and first - second - 1e-12 <= found.high
        width += found.high - found.low
        rejected += found.p_value <= 0.05
        mcnemar += found.p_mcnemar is not None and found.p_mcnemar <= 0.05
    return held / sets, width / sets, rejected / sets, mcnemar / sets if photos == sketches else None


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    args = parser.parse_args()
    start, generator = time.perf_counter(), np.random.default_rng(0)
    print(f"{'':26}{'Acc':>12}{'coverage':>10}{'width':>8}{'sign-flip':>11}{'McNemar':>9}")
    for name, (photos, sketches) in SHAPES.items():
        for first, second in ACCURACIES:
            covered, width, rejected, mcnemar = measure(
                generator, photos, sketches, first, second, args.sets, args.resamples
            )
            exact = "" if mcnemar is None else f"{100 * mcnemar:9.1f}"
            accuracies = f"{first:.2f} {second:.2f}"
            print(
                f"{name:26}{accuracies:>12}{100 * covered:10.1f}{100 * width:8.1f}{100 * rejected:11.1f}{exact}",
                flush=True,
            )
    print(f"{args.sets} sets each; {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
