"""TRSM scores of all pairs of a gallery, factorised, beside the plain module on the same pairs.

    python benchmarks/pair_scoring.py [--sketches 275] [--photos 120] [--width 768] [--rounds 3]

Tokens are given (noise): encoding them is not counted, computing keys, values and folded parts is. The plain module
runs on a sample of the pairs, and its time for all of them is extrapolated. Prints pairs a second, the floating-point
operations that the factorised form needs, and the share of this machine's float32 matrix product.
"""

import argparse
import json
import os
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from train_step import product_speed
from turns import wait_for_turn

from effnet_jax.config import ModelConfig, TrsmConfig
from effnet_jax.models.trsm import TRSM, make_functional_trsm
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.trsm.pair_scoring import PairScorer

TOKENS, PLAIN_BATCH = 197, 8


def flops(sketches: int, photos: int, width: int, embedding: int) -> float:
    """Count what the factorised form needs: two projections a sketch, one a photo, and 3 n d + 2 d z a pair."""
    parts = (2 * sketches + photos) * TOKENS * width * width
    return 2.0 * (parts + sketches * photos * (3 * TOKENS * width + 2 * width * embedding))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sketches", type=int, default=275)
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--embedding", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    model = ModelConfig(width=given.width, embedding_size=given.embedding)
    trsm = make_functional_trsm(model, TrsmConfig(heads=given.heads))
    params = trsm.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    sketches, photos = (
        rng.standard_normal((count, TOKENS, given.width), dtype=np.float32) for count in (given.sketches, given.photos)
    )
    scorer = PairScorer(trsm, params, make_mesh())

    @jax.jit
    def plain(params, photos, sketches):
        def score(module):
            streams = module.streams(photos, sketches)
            a, b = module.photo_head(streams.photo[:, 0]), module.sketch_head(streams.sketch[:, 0])
            return jnp.sum(a * b, axis=1) / jnp.linalg.norm(a, axis=1) / jnp.linalg.norm(b, axis=1)

        return trsm.call(score)(params)

    def all_pairs() -> np.ndarray:
        return np.concatenate([scores for _, scores in scorer.all_pairs(sketches, photos)])

    rows = np.arange(PLAIN_BATCH)
    sample = sketches[rows % given.sketches], photos[rows % given.photos]
    times: dict[str, list[float]] = {"factorised": [], "plain": []}
    calls = {"factorised": all_pairs, "plain": lambda: np.asarray(plain(params, sample[1], sample[0]))}
    wait_for_turn()
    results = {name: call() for name, call in calls.items()}  # compiles
    for _ in range(given.rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    off = np.abs(results["plain"] - results["factorised"][rows % given.sketches, rows % given.photos]).max()

    pairs = given.sketches * given.photos
    fast, slow = statistics.median(times["factorised"]), statistics.median(times["plain"])
    work = flops(given.sketches, given.photos, given.width, given.embedding)
    peak = product_speed()
    if given.json:
        off_by = f"{pairs / fast:,.0f} pairs/s, {work / fast / peak:.2f} of the matrix product; scores off by {off:.1e}"
        return print(json.dumps([[f"TRSM scores of {given.sketches} x {given.photos} pairs", off_by]]))
    print(f"{given.sketches} sketches x {given.photos} photos, {TOKENS} tokens of width {given.width}, {TRSM.__name__}")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores, {given.rounds} rounds")
    print(f"factorised: {fast:.2f} s, {pairs / fast:,.0f} pairs/s, {1e-9 * work:.0f} GFLOP at {1e-9 * work / fast:.0f}")
    print(f"  GFLOP/s, {work / fast / peak:.2f} of the matrix product's {1e-9 * peak:.0f}")
    print(f"plain module: {slow / PLAIN_BATCH * 1e3:.0f} ms a pair on {PLAIN_BATCH} pairs, differing by {off:.1e};")
    print(f"  extrapolated to all pairs {slow / PLAIN_BATCH * pairs:,.0f} s: {slow / PLAIN_BATCH * pairs / fast:,.0f}x")


if __name__ == "__main__":
    main()
