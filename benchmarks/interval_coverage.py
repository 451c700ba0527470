"""How often do 95 % intervals of Acc@K hold the truth? Simulated test sets with sketches that share photos.

    python benchmarks/interval_coverage.py [--sets 10000]

Each photo draws its own chance of success from a beta distribution (mean = the true accuracy, intra-class
correlation as given); its sketches succeed with that chance. Compared: percentile and BCa bootstrap over photos, and
the interval of effnet_jax/retrieval/intervals.py. Prints coverage (truth above / below, mean width), all in %.
"""

import argparse
import time

import numpy as np
from scipy.special import ndtr, ndtri

from effnet_jax.retrieval.intervals import cluster_intervals

SHAPES = {"120 photos, 275 sketches": (120, 275), "97 photos, 97 sketches": (97, 97), "200 photos, 666": (200, 666)}
ACCURACIES = (0.7, 0.94, 0.97)
CORRELATIONS = (0.0, 0.2, 0.5)


def simulate(generator, photos, sketches, accuracy, correlation, sets):
    """Sketches per photo, and hits per photo in each simulated test set."""
    sizes = 1 + np.bincount(np.random.default_rng(5).integers(0, photos, sketches - photos), minlength=photos)
    if correlation:
        scale = (1 - correlation) / correlation
        chance = generator.beta(accuracy * scale, (1 - accuracy) * scale, (sets, photos))
    else:
        chance = np.full((sets, photos), accuracy)
    return sizes.astype(np.float64), generator.binomial(sizes, chance).astype(np.float64)


def bootstrap(generator, sizes, hits, resamples=1000):
    """Percentile and BCa intervals of every set."""
    photos, sets = len(sizes), len(hits)
    weights = generator.multinomial(photos, np.ones(photos) / photos, size=resamples).astype(np.float64)
    draws = np.sort((weights @ hits.T) / (weights @ sizes)[:, None], axis=0)
    estimate = hits.sum(1) / sizes.sum()
    below = (draws < estimate).mean(0) + (draws == estimate).mean(0) / 2
    bias = ndtri(below.clip(0.5 / resamples, 1 - 0.5 / resamples))
    jackknife = (hits.sum(1)[:, None] - hits) / (sizes.sum() - sizes)
    difference = jackknife.mean(1, keepdims=True) - jackknife
    acceleration = (difference**3).sum(1) / np.maximum(6 * (difference**2).sum(1) ** 1.5, 1e-12)

    def bca(tail):
        z = bias + ndtri(tail)
        place = np.clip(ndtr(bias + z / (1 - acceleration * z)) * (resamples - 1), 0, resamples - 1)
        return draws[np.round(place).astype(int), np.arange(sets)]

    return np.quantile(draws, [0.025, 0.975], axis=0), (bca(0.025), bca(0.975))


def main() -> None:
    """Simulate and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=10_000)
    sets = parser.parse_args().sets
    start, generator = time.perf_counter(), np.random.default_rng(0)
    print(f"{'':26}{'Acc':>5}{'corr':>6}" + "".join(f"{name:>24}" for name in ("percentile", "BCa", "ours")))
    for name, (photos, sketches) in SHAPES.items():
        for accuracy in ACCURACIES:
            for correlation in CORRELATIONS if sketches > photos else (0.0,):
                sizes, hits = simulate(generator, photos, sketches, accuracy, correlation, sets)
                cells = ""
                for low, high in (*bootstrap(generator, sizes, hits), cluster_intervals(sizes, hits, hits)):
                    above, below = 100 * (low > accuracy).mean(), 100 * (high < accuracy).mean()
                    missed = f"({below:.1f}/{above:.1f}, {100 * (high - low).mean():.1f})"
                    cells += f"{100 - above - below:8.1f} {missed:>15}"
                print(f"{name:26}{accuracy:5.2f}{correlation:6.1f}{cells}", flush=True)
    print(f"coverage (truth above / below the interval, mean width); {sets} sets each")
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
