import dataclasses

import jax
import numpy as np
import pytest

from effnet_jax import Preprocessing, make_functional
from effnet_jax.config import Config, LossConfig, ModelConfig, TrainConfig, TrsmConfig
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.runs.state import make_state
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.alignment.alignment_flops import step_flops
from effnet_jax.stages.alignment.alignment_objective import init_variables, make_alignment_objective
from effnet_jax.stages.trsm.trsm_flops import trsm_step_flops
from effnet_jax.training.flops import image_flops, lowered_flops, peak_flops, total_peak
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.step import make_train_step


def counted(config):
    """XLA's count of the whole training step, lowered and not compiled."""
    model, optimizer, size = make_functional(config.model), make_optimizer(config.optim, 10), config.model.image_size
    objective = make_alignment_objective(config, model, Preprocessing(image_size=size))
    step = make_train_step(objective, optimizer, jax.random.key(0), make_mesh(1))
    state = jax.eval_shape(lambda key: make_state(init_variables(model, config, key), optimizer), jax.random.key(0))
    b = config.train.batch_size
    batch = {f"{d}_{s}": jax.ShapeDtypeStruct((b, s, s, 3), np.uint8) for d in ("sketch", "photo")
             for s in (size, int(1.2 * size))}  # fmt: skip
    batch |= {name: jax.ShapeDtypeStruct((b,), kind) for name, kind in (("photo_index", np.int32),
                                                                        ("position", np.uint32))}  # fmt: skip
    return lowered_flops(step.lower(state, batch))


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (ModelConfig(backbone="vit_base", depth=4), LossConfig()),
        (ModelConfig(backbone="vit_base", depth=3, shared_encoders=True), LossConfig(intra_photo=0.0)),
        (ModelConfig(backbone="vit_small", depth=4), LossConfig()),
        (ModelConfig(backbone="convnext_small", depth=2), LossConfig()),
        (ModelConfig(backbone="resnet18", width=32), LossConfig()),
    ],
    ids=["two encoders", "one encoder, three views", "small", "layer norms by XLA", "batch norms by XLA"],
)
def test_within_3_percent_of_the_lowered_step(model, loss):
    config = Config(model=model, loss=loss, train=TrainConfig(batch_size=16))
    assert step_flops(config) == pytest.approx(counted(config), rel=0.03)


def test_a_pair_of_the_paper_and_what_does_not_count():
    config = Config(train=TrainConfig(batch_size=2))
    assert 1e-9 * step_flops(config) / 2 == pytest.approx(421.5, abs=0.05)
    again = dataclasses.replace(config.model, remat=True)
    parts = dataclasses.replace(config, model=again, train=TrainConfig(batch_size=2, micro_batch_size=1))
    assert step_flops(parts) == step_flops(config)  # recomputation is not useful work
    stem = dataclasses.replace(config.model, depth=1, stem="conv")
    assert image_flops(stem) > image_flops(dataclasses.replace(config.model, depth=1))


def test_stage_two_by_hand():
    """Multiply-adds of a pair of views, where tokens need no gradient: 51 d d, 14 k n d and 6 d z, forward and back."""
    b, k, n, d, z = 16, 16, 197, 384, 64
    model = ModelConfig(backbone="vit_small", depth=1, embedding_size=z)
    config = Config(model=model, train=TrainConfig(batch_size=b), trsm=TrsmConfig(heads=k))
    trsm = make_functional_trsm(config.model, config.trsm)
    views_held = trsm_step_flops(config, trsm, encoded=0)
    assert views_held == pytest.approx(2 * 2 * b * (51 * d * d + 14 * k * n * d + 6 * d * z), rel=0.03)
    images = trsm_step_flops(config, trsm, encoded=2) - views_held
    assert images == pytest.approx(2 * b * image_flops(model) / 3)


@pytest.mark.parametrize(
    ("kind", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("TPU v4", 275),
        ("TPU v4 lite", None),
        ("TPU v5 lite", 197),
        ("TPU v5e", 197),
        ("TPU v5", 459),
        ("TPU v5p", 459),
        ("TPU v6 lite", 918),
        ("TPU v6e", 918),
        ("cpu", None),
    ],
)
def test_peaks(kind, tera):
    assert peak_flops(kind) == (None if tera is None else tera * 1e12)


def test_one_unknown_device_leaves_the_total_unknown():
    assert total_peak(jax.devices("cpu")) is None
