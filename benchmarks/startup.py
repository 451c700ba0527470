"""Seconds from starting Python to the end of the first training step, with and without compiled programs on disk.

    python benchmarks/startup.py [--backbone vit_tiny] [--pairs 16] [--size 224] [--rounds 3] [--torch eager]

Each round starts a fresh process without a cache of compiled programs, one that fills an empty cache, and one that
finds it filled. The floor is a process that only imports what the step needs. `--torch` names PyTorch variants that
take their first step, as in train_step.py.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIRST_STEP = """
import sys
from effnet_jax.runtime.compilation_cache import use_compilation_cache
use_compilation_cache(sys.argv[1])
import train_step
if sys.argv[2] != "0":
    config = train_step.Config(
        model=train_step.ModelConfig(backbone=sys.argv[3], image_size=int(sys.argv[4]), depth=int(sys.argv[5])),
        train=train_step.TrainConfig(batch_size=int(sys.argv[2])),
    )
    batch = train_step.make_batch(config.train.batch_size, config.model.image_size)
    (train_step.torch_side(config, batch, sys.argv[6]) if sys.argv[6] else train_step.our_side(config, batch))()
"""


def seconds(folder: str, pairs: int, given: argparse.Namespace, variant: str = "") -> float:
    """Time one process, of PyTorch where a variant is named."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", FIRST_STEP, folder, str(pairs), given.backbone, str(given.size), str(given.depth),
         variant],
        env={**os.environ, "PYTHONPATH": path}, check=True,
    )  # fmt: skip
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_tiny")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--depth", type=int, default=0, help="blocks; 0 = the backbone's")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--torch", nargs="*", default=[], help="PyTorch variants")
    given = parser.parse_args()
    times: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            cases = {"imports only (floor)": ("", 0), "no cache": ("", given.pairs),
                     "empty cache": (folder, given.pairs), "filled cache": (folder, given.pairs)}  # fmt: skip
            for name, (cache, pairs) in cases.items():
                times.setdefault(name, []).append(seconds(cache, pairs, given))
        for variant in given.torch:
            times.setdefault(f"PyTorch {variant}", []).append(seconds("", given.pairs, given, variant))
    print(f"{given.backbone} at {given.size}, {given.pairs} pairs, {os.cpu_count()} cores, {given.rounds} rounds")
    for name, values in times.items():
        print(f"{name:22}{statistics.median(values):8.2f} s  (from {min(values):.2f} to {max(values):.2f})")
    ratio = statistics.median(times["no cache"]) / statistics.median(times["filled cache"])
    print(f"ratio, no cache over filled cache: {ratio:.2f}")


if __name__ == "__main__":
    main()
