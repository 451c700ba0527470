"""One training step of EffNet, beside the same step in plain PyTorch; side by side in one run.

    python benchmarks/train_step.py [--backbone vit_tiny] [--pairs 16] [--size 224] [--rounds 5]

The step is the paper's: A0 and A1 of sketch and photo from uint8 images, two encoders, four InfoNCE terms, gradients,
Adam with L2. The two sides take turns; both medians and their ratio are printed, and the share of the matrix product's
speed on this machine, for the FLOPs that the matrix products of the step need (three times the forward pass).
Without torch (`pip install -e ".[torch]"`) only our side runs.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import os
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from effnet_jax.config import Config, ModelConfig
from effnet_jax.data.preprocessing import Preprocessing, source_size
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.vit import PRESETS
from effnet_jax.sharding import make_mesh, put_batch, replicated
from effnet_jax.training.objective import init_variables, make_alignment_objective
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.state import make_state
from effnet_jax.training.step import make_train_step

IMAGES_A_PAIR = 4  # two views of sketch and photo


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


def our_side(config: Config, batch: dict[str, np.ndarray]) -> Callable[[], None]:
    """Compile the library's own step and return a call of it that waits for the result."""
    mesh, model = make_mesh(1), make_functional(config.model)
    optimizer = make_optimizer(config.optim, total_steps=1000)
    objective = make_alignment_objective(config, model, Preprocessing(image_size=config.model.image_size))
    step = make_train_step(objective, optimizer, jax.random.key(1, impl="threefry2x32"), mesh)
    start = jax.jit(
        lambda key: make_state(init_variables(model, config, key), optimizer), out_shardings=replicated(mesh)
    )
    state = start(jax.random.key(0))

    def call() -> None:
        nonlocal state
        state, scalars = step(state, put_batch(batch, mesh))
        jax.block_until_ready(scalars)

    return call


def torch_side(config: Config, batch: dict[str, np.ndarray]) -> Callable[[], None]:
    """Build the eager PyTorch step on the same batch."""
    torch = importlib.import_module("torch")
    theirs = importlib.import_module("torch_effnet")
    torch.set_num_threads(os.cpu_count() or 1)
    width, depth, heads = sizes(config.model)
    step = theirs.TrainStep(
        width=width,
        depth=depth,
        heads=heads,
        size=config.model.image_size,
        patch=config.model.patch_size,
        embedding=config.model.embedding_size,
    )
    tensors = {name: torch.from_numpy(rows) for name, rows in batch.items() if rows.dtype == np.uint8}

    def call() -> None:
        step(tensors)

    return call


def sizes(model: ModelConfig) -> tuple[int, int, int]:
    """Width, depth and heads of a backbone."""
    width, depth, heads = PRESETS[model.backbone]
    return model.width or width, model.depth or depth, model.heads or heads


def step_flops(model: ModelConfig, pairs: int) -> float:
    """Count the floating-point operations of the matrix products of one step: three forward passes' worth."""
    d, depth, _ = sizes(model)
    patches = (model.image_size // model.patch_size) ** 2
    n = patches + 1
    block = 2 * n * 12 * d * d + 4 * n * n * d  # qkv, proj and MLP; attention logits and values
    forward = 2 * patches * 3 * model.patch_size**2 * d + depth * block
    return 3.0 * IMAGES_A_PAIR * pairs * forward


def product_speed() -> float:
    """Measure this machine's float32 matrix product, FLOP/s."""
    edge = 2048
    product = jax.jit(lambda a: a @ a)
    a = jnp.ones((edge, edge), jnp.float32)
    times = []
    for _ in range(6):
        started = time.perf_counter()
        product(a).block_until_ready()
        times.append(time.perf_counter() - started)
    return 2 * edge**3 / statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_tiny", choices=sorted(PRESETS))
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    config = Config(model=dataclasses.replace(ModelConfig(), backbone=given.backbone, image_size=given.size))
    batch = make_batch(given.pairs, given.size)
    sides = {"effnet_jax": our_side(config, batch)}
    if importlib.util.find_spec("torch"):
        sides["PyTorch, eager"] = torch_side(config, batch)
    times: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(given.rounds + 1):  # the first compiles and is not counted
        for name, call in sides.items():
            started = time.perf_counter()
            call()
            if round_:
                times[name].append(time.perf_counter() - started)

    flops, peak = step_flops(config.model, given.pairs), product_speed()
    print(f"{given.backbone} at {given.size}, {given.pairs} pairs, float32: {1e-9 * flops:.0f} GFLOP a step")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores, {given.rounds} rounds")
    print(f"matrix product alone: {1e-9 * peak:.0f} GFLOP/s, so the floor is {flops / peak:.2f} s")
    print(f"{'':20}{'median s':>9}{'min s':>9}{'pairs/s':>9}{'GFLOP/s':>9}{'share':>7}")
    for name, values in times.items():
        median = statistics.median(values)
        rate = flops / median
        print(
            f"{name:20}{median:9.3f}{min(values):9.3f}{given.pairs / median:9.2f}{1e-9 * rate:9.0f}{rate / peak:7.2f}"
        )
    if len(times) == 2:
        ours, theirs = (statistics.median(times[name]) for name in times)
        print(f"ratio, PyTorch over ours: {theirs / ours:.2f}")


if __name__ == "__main__":
    main()
