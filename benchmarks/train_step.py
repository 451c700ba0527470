"""One training step of EffNet, beside the same step in plain PyTorch; side by side in one run.

    python benchmarks/train_step.py [--backbone vit_tiny] [--pairs 16] [--size 224] [--rounds 5]
    python benchmarks/train_step.py --backbone vit_base --pairs 256 --dtype bfloat16 --torch "compiled autocast"

The step is the paper's: A0 and A1 of sketch and photo from uint8 images, two encoders, four InfoNCE terms, gradients,
Adam with L2. The sides take turns. Printed are medians and their ratios, in CPU seconds too, in which other work of a
busy machine does not count; the share of the best matrix product that this machine reaches at the shapes of the MLP,
for the FLOPs that the step needs (effnet_jax/training/flops.py); and where the device's peak is known, the share of
that (MFU). `--torch` names the PyTorch variants: eager, autocast, compiled, "compiled autocast", or none. `--alone`
measures each side in a process of its own and gives its peak memory.
Needs jax, flax, optax, numpy, einops and jaxtyping; torch (`pip install -e ".[torch]"`) for its side.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch needs room on the same GPU

import jax
import jax.numpy as jnp
import numpy as np
from turns import compiling, wait_for_turn

from effnet_jax.config import Config, ModelConfig, TrainConfig
from effnet_jax.images.preprocessing import Preprocessing, source_size
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.presets import BACKBONES, preset_of
from effnet_jax.runs.state import make_state
from effnet_jax.runtime.sharding import make_mesh, put_batch, replicated
from effnet_jax.stages.alignment.alignment_flops import step_flops
from effnet_jax.stages.alignment.alignment_objective import init_variables, make_alignment_objective
from effnet_jax.training.flops import peak_flops
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.step import make_train_step

OURS = "effnet_jax"
VITS = sorted(name for name, preset in BACKBONES.items() if preset.family == "vit")


def make_batch(pairs: int, size: int) -> dict[str, np.ndarray]:
    """Draw a batch of noise, as the input pipeline would hand it over."""
    rng = np.random.default_rng(0)
    sizes = (size, source_size("a1", size))
    batch = {
        f"{domain}_{edge}": rng.integers(0, 256, (pairs, edge, edge, 3), dtype=np.uint8)
        for domain in ("sketch", "photo")
        for edge in sizes
    }
    return batch | {
        "photo_index": np.arange(pairs, dtype=np.int32),
        "position": np.arange(pairs, dtype=np.uint32),
    }


def our_side(config: Config, batch: dict[str, np.ndarray], devices: int = 1) -> Callable[[], None]:
    """Compile the library's own step and return a call of it that waits for the result.

    The first call makes the state and puts the batch onto the device.
    """
    mesh, model = make_mesh(devices), make_functional(config.model)
    optimizer = make_optimizer(config.optim, total_steps=1000)
    objective = make_alignment_objective(config, model, Preprocessing(image_size=config.model.image_size))
    step: Any = make_train_step(objective, optimizer, jax.random.key(1, impl="threefry2x32"), mesh)
    start = jax.jit(
        lambda key: make_state(init_variables(model, config, key), optimizer), out_shardings=replicated(mesh)
    )
    key = jax.random.key(0)
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}
    lowered = start.lower(key), step.lower(jax.eval_shape(start, key), shapes)
    with compiling():
        make, train = (program.compile() for program in lowered)
    state, rows = None, {}

    def call() -> None:
        nonlocal state, rows
        if state is None:
            state, rows = make(key), put_batch(batch, mesh)
        state, scalars = train(state, rows)
        jax.block_until_ready((state.params, scalars))

    return call


def torch_side(config: Config, batch: dict[str, np.ndarray], variant: str) -> Callable[[], None]:
    """Build the PyTorch step on the same batch."""
    torch = importlib.import_module("torch")
    theirs = importlib.import_module("torch_effnet")
    torch.set_num_threads(os.cpu_count() or 1)
    width, depth, heads = sizes(config.model)
    autocast, compiled = theirs.VARIANTS[variant]
    step = theirs.TrainStep(
        width=width, depth=depth, heads=heads, size=config.model.image_size, patch=config.model.patch_size,
        embedding=config.model.embedding_size, device="cuda" if torch.cuda.is_available() else "cpu",
        autocast=autocast, compiled=compiled,
    )  # fmt: skip
    tensors = {name: torch.from_numpy(rows).to(step.device) for name, rows in batch.items() if rows.dtype == np.uint8}

    def call() -> None:
        step(tensors)

    if compiled and torch.cuda.is_available():  # compiled before its turn, like ours; what that took is given back
        call()
        torch.cuda.empty_cache()
    return call


def sizes(model: ModelConfig) -> tuple[int, int, int]:
    """Width, depth and heads of a backbone."""
    preset = preset_of(model)
    return preset.width, preset.depths[0], preset.heads


def mlp_shapes(model: ModelConfig, pairs: int) -> list[tuple[int, int, int]]:
    """Give the shapes (m, k, n) of the MLP's products in a step: both layers, and the gradient of a weight."""
    rows, width = 2 * pairs * (1 + (model.image_size // model.patch_size) ** 2), sizes(model)[0]
    return [(rows, width, 4 * width), (rows, 4 * width, width), (width, rows, 4 * width)]


def product_speed(shapes: Sequence[tuple[int, int, int]] = ((2048, 2048, 2048),), dtype: str = "float32") -> float:
    """Measure this machine's matrix product at some shapes (m, k, n), FLOP/s, and give the best."""
    product = jax.jit(lambda a, b: a @ b)
    best, queued = 0.0, 1 if jax.default_backend() == "cpu" else 20  # so that an accelerator does not wait for the host
    for m, k, n in shapes:
        a, b = (jax.random.normal(jax.random.key(0), shape, jnp.dtype(dtype)) for shape in ((m, k), (k, n)))
        product(a, b).block_until_ready()
        times = []
        for _ in range(5):
            started = time.perf_counter()
            jax.block_until_ready([product(a, b) for _ in range(queued)])
            times.append((time.perf_counter() - started) / queued)
        best = max(best, 2.0 * m * k * n / statistics.median(times))
    return best


def peak_device_mb(ours: bool) -> float | None:
    """Give the most memory of the device that our side, or PyTorch, held; None on CPUs."""
    if not ours:
        torch = importlib.import_module("torch")
        return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    found = jax.devices()[0].memory_stats()
    return found["peak_bytes_in_use"] / 2**20 if found else None


Times = dict[str, list[float]]


def take_turns(sides: dict[str, Callable[[], None]], rounds: int) -> tuple[Times, Times]:
    """Time one call of each side, round by round, by the clock and in processor seconds; the first round compiles."""
    clock: Times = {name: [] for name in sides}
    processor: Times = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, call in sides.items():
            started, worked = time.perf_counter(), time.process_time()
            call()
            if round_:
                clock[name].append(time.perf_counter() - started)
                processor[name].append(time.process_time() - worked)
    return clock, processor


def measure(
    config: Config, variants: list[str], rounds: int, ours: bool = True, devices: tuple[int, ...] = (1,)
) -> dict[str, Any]:
    """Measure the sides that can be had, and what their speed is compared with."""
    pairs = config.train.batch_size
    batch = make_batch(pairs, config.model.image_size)
    sides = {OURS: our_side(config, batch, devices[0])} if ours else {}
    sides |= {f"{OURS} on {n} devices": our_side(config, batch, n) for n in devices[1:] if ours}
    if variants and importlib.util.find_spec("torch"):
        sides |= {f"PyTorch {variant}": torch_side(config, batch, variant) for variant in variants}
    wait_for_turn()
    times, processor = take_turns(sides, rounds)
    return {
        "times": times,
        "median_s": {name: statistics.median(values) for name, values in times.items()},
        "processor_s": {name: statistics.median(values) for name, values in processor.items()},
        "by_round": {name: statistics.median(b / a for a, b in zip(times[OURS], values, strict=True))
                     for name, values in times.items() if ours and name != OURS},
        "flops": step_flops(config),
        "product": product_speed(mlp_shapes(config.model, pairs), config.model.dtype) if ours else None,
        "device": jax.devices()[0].device_kind,
        "peak": peak_flops(jax.devices()[0].device_kind),
        "device_mb": peak_device_mb(ours),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def show(config: Config, found: dict[str, Any], rounds: int) -> None:
    """Print what was measured."""
    model, pairs, flops, product = config.model, config.train.batch_size, found["flops"], found["product"]
    print(f"{model.backbone} at {model.image_size}, {pairs} pairs, {model.dtype}: {1e-9 * flops:.0f} GFLOP a step")
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores{load}, {rounds} rounds")
    print(f"best matrix product at these shapes: {1e-9 * product:.0f} GFLOP/s, so the floor is {flops / product:.4f} s")
    peak, heads = found["peak"], ("median s", "min s", "CPU s", "pairs/s", "GFLOP/s", "share")
    print(f"{'':28}" + "".join(f"{head:>10}" for head in (*heads, *["MFU"][: bool(peak)])))
    for name, values in found["times"].items():
        median = found["median_s"][name]
        rate = flops / median
        line = f"{name:28}{median:10.4f}{min(values):10.4f}{found['processor_s'][name]:10.4f}{pairs / median:10.2f}"
        print(line + f"{1e-9 * rate:10.0f}{rate / product:10.2f}" + (f"{rate / peak:10.3f}" if peak else ""))
    for name, ratio in found["by_round"].items():
        medians = found["median_s"][name] / found["median_s"][OURS]
        work = found["processor_s"][name] / found["processor_s"][OURS]
        print(
            f"ratio, {name} over {OURS}: {medians:.2f} of the medians, {ratio:.2f} by round, {work:.2f} in CPU seconds"
        )


def alone(arguments: list[str], variants: list[str]) -> None:
    """Run each side in a process of its own and print its time and peak memory."""
    for name, chosen in ((OURS, "none"), *((f"PyTorch {v}", v) for v in variants)):
        command = [
            sys.executable,
            __file__,
            *arguments,
            "--torch",
            chosen,
            "--json",
            *["--without_ours"][: chosen != "none"],
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:28} {found['median_s'][name]:.3f} s, peak memory of the process {found['peak_rss_mb']:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_tiny", choices=VITS)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--depth", type=int, default=0, help="blocks; 0 = the backbone's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--remat", action="store_true", help="recompute blocks in the backward pass")
    parser.add_argument("--micro", type=int, default=0, help="pairs of a micro-batch; 0 = all at once")
    parser.add_argument("--torch", nargs="*", default=["eager"], help="PyTorch variants, or none")
    parser.add_argument("--devices", nargs="+", type=int, default=[1], help="each number of devices in turn")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--without_ours", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    variants = [v for v in given.torch if v != "none"]
    if given.alone:
        flags = [f"--{name}={getattr(given, name)}" for name in
                 ("backbone", "pairs", "size", "depth", "rounds", "dtype", "attention", "micro")]  # fmt: skip
        return alone(flags + ["--remat"] * given.remat, variants)
    model = ModelConfig(backbone=given.backbone, image_size=given.size, depth=given.depth, dtype=given.dtype,
                        attention=given.attention, remat=given.remat)  # fmt: skip
    train = TrainConfig(batch_size=given.pairs, micro_batch_size=given.micro)
    config = dataclasses.replace(Config(), model=model, train=train)
    found = measure(config, variants, given.rounds, not given.without_ours, tuple(given.devices))
    if given.json:
        print(json.dumps(found))
    else:
        show(config, found, given.rounds)


if __name__ == "__main__":
    main()
