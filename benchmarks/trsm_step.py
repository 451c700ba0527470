"""A stage-2 training step beside the frozen encoders' forward passes that it needs.

    python benchmarks/trsm_step.py [--backbone vit_base] [--pairs 16] [--pairing matched] [--rounds 5]

Tokens of the unaugmented views are held in memory; the augmented views of sketch and photo are encoded at every step.
Prints both times, taken in turns, and the ratio of a whole step to the forward passes alone.
"""

import argparse
import dataclasses
import os
import statistics
import time

import jax
import numpy as np
from train_step import make_batch, sizes

from effnet_jax.config import Config, ModelConfig, TrsmConfig
from effnet_jax.encoders.encode_program import EncodeProgram
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.runs.state import make_state
from effnet_jax.runtime.sharding import make_mesh, put_batch, replicated
from effnet_jax.stages.draws import AUGMENTED
from effnet_jax.stages.trsm.token_batches import encode_views, make_view_program
from effnet_jax.stages.trsm.trsm_objective import init_trsm_variables, make_trsm_objective
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.step import make_train_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_base")
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--pairing", default="matched", choices=["matched", "all_pairs"])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    model_config = dataclasses.replace(ModelConfig(), backbone=given.backbone, image_size=given.size)
    config = Config(model=model_config, trsm=TrsmConfig(pairing=given.pairing))
    mesh, model, trsm = make_mesh(1), make_functional(config.model), make_functional_trsm(config.model, config.trsm)
    key = jax.random.key(0, impl="threefry2x32")
    frozen = jax.jit(model.init)(key)
    wanted = {"sketch": (AUGMENTED,), "photo": (AUGMENTED,)}
    preprocessing = Preprocessing(image_size=given.size)
    program = EncodeProgram(config.model, preprocessing, mesh, tokens=config.model.dtype)
    views = make_view_program(config.augment, preprocessing, mesh, wanted)
    optimizer = make_optimizer(config.optim, total_steps=1000)
    step = make_train_step(make_trsm_objective(config, trsm), optimizer, key, mesh)
    start = jax.jit(
        lambda k: make_state(init_trsm_variables(trsm, config, k), optimizer), out_shardings=replicated(mesh)
    )
    state = start(key)
    images = put_batch(make_batch(given.pairs, given.size), mesh)
    n = 1 + (given.size // config.model.patch_size) ** 2
    shape = (given.pairs, n, sizes(config.model)[0])
    rng = np.random.default_rng(0)
    held = {f"{domain}_anchor": rng.standard_normal(shape, dtype=np.float32) for domain in ("sketch", "photo")}

    times: dict[str, list[float]] = {"forward passes": [], "training of TRSM": []}
    for round_ in range(given.rounds + 1):  # the first compiles and is not counted
        started = time.perf_counter()
        tokens = jax.block_until_ready(encode_views(views, program, frozen, images, key))
        middle = time.perf_counter()
        batch = {**tokens, **put_batch(held, mesh), **{k: images[k] for k in ("photo_index", "position")}}
        state, scalars = step(state, batch)
        jax.block_until_ready(scalars)
        if round_:
            times["forward passes"].append(middle - started)
            times["training of TRSM"].append(time.perf_counter() - middle)
    forward, training = (statistics.median(values) for values in times.values())
    print(f"{given.backbone} at {given.size}, {given.pairs} pairs, {given.pairing}, float32")
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {os.cpu_count()} cores, {given.rounds} rounds")
    print(f"forward passes of {2 * given.pairs} augmented views: {forward:.3f} s; TRSM step: {training:.3f} s")
    print(f"whole step over forward passes: {(forward + training) / forward:.3f}")


if __name__ == "__main__":
    main()
