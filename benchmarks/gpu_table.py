"""The whole table of one accelerator: steps at 16 and 256 pairs, MFU, PyTorch's best variant, and a recipe's time.

    python benchmarks/gpu_table.py                        ViT-B/16 at 224 in bfloat16, on a GPU or TPU
    python benchmarks/gpu_table.py --backbone vit_tiny --size 32 --depth 1 --pairs 4 --rounds 2 --epochs 0.1

Prints Markdown. A variant that does not run is named with its reason. The recipe is Clothes-V1's, 500 epochs with an
evaluation every 5, on procedural garments, which have the same number of sketches and photos; it needs the whole
installation and is left out with --epochs 0.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TORCH = ("eager", "autocast", "compiled", "compiled autocast")
ATTENTION = ("auto", "merged", "xla", "cudnn")


def run(given: argparse.Namespace, pairs: int, *flags: str) -> dict[str, Any] | str:
    """Measure in a process of its own; gives the last line of the complaint where it fails."""
    program = str(Path(__file__).with_name("train_step.py"))
    command = [sys.executable, program, "--json", f"--backbone={given.backbone}",
               f"--size={given.size}", f"--depth={given.depth}", f"--pairs={pairs}",
               f"--rounds={given.rounds}"]  # fmt: skip
    done = subprocess.run([*command, *flags], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, pairs: int, found: dict[str, Any] | str, best: float | None) -> float | None:
    """Print one line of the table; gives the pairs/s."""
    if isinstance(found, str):
        print(f"| {pairs} | {name} | did not run: {found} | | | | |", flush=True)
        return None
    if not found["median_s"]:
        print(f"| {pairs} | {name} | torch is not installed | | | | |", flush=True)
        return None
    (median,) = found["median_s"].values()
    rate, speed = found["flops"] / median, pairs / median
    mfu = f"{100 * rate / found['peak']:.1f} %" if found["peak"] else "peak not known"
    share = f"{100 * rate / found['product']:.1f} %"
    ratio = f"{speed / best:.2f}" if best else ""
    print(f"| {pairs} | {name} | {1e3 * median:.1f} | {speed:.1f} | {mfu} | {share} | {ratio} |", flush=True)
    return speed


def recipe(given: argparse.Namespace) -> str:
    """Train Clothes-V1's recipe on its stand-in, evaluate every 5 epochs, and tell how long all of it took."""
    from effnet_jax import train
    from effnet_jax.config import Config

    plain = Config()
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(
            plain,
            data=dataclasses.replace(plain.data, name="procedural_garments", tfds_dir=given.tfds_dir),
            model=dataclasses.replace(plain.model, backbone=given.backbone, image_size=given.size, depth=given.depth,
                                      dtype=given.dtype, weights="none"),
            train=dataclasses.replace(plain.train, epochs=given.epochs, log_every_steps=50),
            eval=dataclasses.replace(plain.eval, best_on_test=True),
        )  # fmt: skip
        started = time.perf_counter()
        train(config, folder)
        seconds = time.perf_counter() - started
    return f"{seconds:.1f} s for {given.epochs:g} epochs of 925 pairs, evaluations and report included"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_base")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--depth", type=int, default=0, help="blocks; 0 = the backbone's")
    parser.add_argument("--pairs", type=int, nargs="*", default=[16, 256])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--attention", nargs="*", default=list(ATTENTION))
    parser.add_argument("--torch", nargs="*", default=list(TORCH))
    parser.add_argument("--epochs", type=float, default=500.0, help="of the recipe; 0 leaves it out")
    parser.add_argument("--tfds_dir", default="", help="where built data sets live")
    given = parser.parse_args()
    print("| pairs | side | median ms | pairs/s | MFU | of the best product | ours: to the best PyTorch |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for pairs in given.pairs:
        theirs = [row(f"PyTorch {v}", pairs, run(given, pairs, "--without_ours", "--torch", v), None)
                  for v in given.torch if v != "none"]  # fmt: skip
        best = max((speed for speed in theirs if speed), default=None)
        for attention in given.attention:
            flags = (f"--dtype={given.dtype}", f"--attention={attention}", "--torch", "none")
            row(f"effnet_jax {given.dtype}, attention {attention}", pairs, run(given, pairs, *flags), best)
    if given.epochs:
        print(f"\nClothes-V1's recipe: {recipe(given)}")


if __name__ == "__main__":
    main()
