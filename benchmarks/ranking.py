"""Ranking 1,000 sketches against 100,000 photos of width 512, beside the bare matrix product and plain PyTorch.

    python benchmarks/ranking.py [--torch]

Takes turns: one call of each, repeated, so that whatever else the machine does falls on all alike. Prints medians and
ratios to the bare product jitted by JAX: of the medians, and the median over the rounds, which a busy machine disturbs
less (floor: 2 q g z floating-point operations). Target: ranks within 1.3x.
"""

import argparse
import importlib
import json
import os
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
from turns import wait_for_turn

from effnet_jax.retrieval.ranking import rank_gallery


def torch_sides(sketches: np.ndarray, photos: np.ndarray, truth: np.ndarray) -> dict[str, Callable[[], object]]:
    """Count better photos, and list the first ten, in PyTorch, on the GPU where there is one."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_float32_matmul_precision("highest")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    s, p, t = (torch.from_numpy(rows).to(device) for rows in (sketches, photos, truth.astype(np.int64)))

    def ranks(top: int) -> object:
        with torch.inference_mode():
            scores = s @ p.T
            better = (scores > scores.gather(1, t[:, None])).sum(1).cpu()
            return better, scores.topk(top).indices.cpu() if top else None

    return {"PyTorch, ranks": lambda: ranks(0), "PyTorch, ranks and the first ten": lambda: ranks(10)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--torch", action="store_true", help="measure PyTorch, too; it has to be installed")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    q, g, z = arguments.queries, arguments.gallery, arguments.width

    generator = np.random.default_rng(0)
    host_sketches = generator.standard_normal((q, z), dtype=np.float32)
    host_photos = generator.standard_normal((g, z), dtype=np.float32)
    truth = generator.integers(0, g, q).astype(np.int32)
    sketches, photos = jax.device_put(host_sketches), jax.device_put(host_photos)
    product = jax.jit(lambda a, b: jax.numpy.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST))

    cases: dict[str, Callable[[], object]] = {
        "bare matrix product, jitted": lambda: product(sketches, photos).block_until_ready(),
        "ranks (rank_gallery, top=0)": lambda: rank_gallery(sketches, photos, truth, top=0),
        "ranks and the first ten": lambda: rank_gallery(sketches, photos, truth, top=10),
        "NumPy matrix product": lambda: host_sketches @ host_photos.T,
    }
    if arguments.torch:
        cases |= torch_sides(host_sketches, host_photos, truth)
    wait_for_turn()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for repeat in range(arguments.repeats + 1):  # the first round compiles and is not counted
        for name, call in cases.items():
            start = time.perf_counter()
            call()
            if repeat:
                times[name].append(time.perf_counter() - start)

    floor = times["bare matrix product, jitted"]
    if arguments.json:
        size = f"{q:,} x {g:,} x {z}"
        return print(
            json.dumps([[f"{name}, {size}", f"{1e3 * statistics.median(x):.2f} ms"] for name, x in times.items()])
        )
    print(f"{q:,} queries x {g:,} photos x {z}: floor {2e-9 * q * g * z:.1f} GFLOP")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores, {arguments.repeats} rounds")
    print(f"{'':32}{'median s':>9}{'min s':>9}{'GFLOP/s':>9}{'ratio':>7}{'by round':>10}")
    for name, values in times.items():
        median = statistics.median(values)
        ratio = median / statistics.median(floor)
        by_round = statistics.median(a / b for a, b in zip(values, floor, strict=True))
        rate = 2e-9 * q * g * z / median
        print(f"{name:32}{median:9.3f}{min(values):9.3f}{rate:9.0f}{ratio:7.2f}{by_round:10.2f}")


if __name__ == "__main__":
    main()
