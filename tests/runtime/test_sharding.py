import jax
import numpy as np
import pytest
from commands import run_program
from jax.sharding import AbstractMesh, AxisType

from effnet_jax.runtime.sharding import check_divisible, gathered, make_mesh, param_shardings, put, put_rows

PROGRAM = """
import sys
import jax, numpy as np
jax.config.update("jax_default_matmul_precision", "float32")
from effnet_jax.config import AugmentConfig, Config, LossConfig, ModelConfig, OptimConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.runtime.sharding import check_divisible, make_mesh, put, put_batch
from effnet_jax.stages.alignment.alignment_objective import init_variables, make_alignment_objective
from effnet_jax.training.optim import make_optimizer
from effnet_jax.runs.state import make_state, state_shardings
from effnet_jax.training.step import make_train_step

MODELS = {
    "vit": {"backbone": "vit_tiny", "width": 24, "depth": 1, "heads": 3},
    "resnet": {"backbone": "resnet18", "width": 8, "depth": 1},  # batch statistics over all devices
    "swin": {"backbone": "swin_tiny", "width": 12, "depth": 2, "heads": 3, "drop_path": 0.5},
}
config = Config(
    model=ModelConfig(**MODELS[sys.argv[1]], image_size=32, embedding_size=8, weights="none"),
    augment=AugmentConfig(sketch_views=("a0", "a1"), photo_views=("a0", "a2")),
    optim=OptimConfig(learning_rate=1e-3, eps=1e-2),  # a large eps keeps Adam from magnifying rounding
)
rng = np.random.default_rng(0)
batch = {f"{d}_{s}": rng.integers(0, 256, (16, s, s, 3), np.uint8) for d in ("sketch", "photo") for s in (32, 38)}
batch |= {"photo_index": np.arange(16, dtype=np.int32) // 2, "position": np.arange(16, dtype=np.uint32)}
model, optimizer, key = make_functional(config.model), make_optimizer(config.optim, 3), jax.random.key(0)
objective = make_alignment_objective(config, model, Preprocessing(image_size=32))
results = []
for devices, fsdp in ((1, False), (8, False), (8, True))[: 3 if sys.argv[1] == "vit" else 2]:
    mesh = make_mesh(devices)
    assert mesh.size == devices
    fresh = init_variables(model, config, key)
    stats = model.init_batch_stats()
    state = make_state(fresh, optimizer)
    lies = state_shardings(state, mesh, fsdp=fsdp)
    step = make_train_step(objective, optimizer, key, mesh, lies if fsdp else None)
    state = put(state, lies)
    losses = []
    for _ in range(3):
        state, scalars = step(state, put_batch(batch, mesh))
        losses.append(float(scalars["loss"]))  # waiting for each step keeps fake devices from deadlocking
    assert len(state.params["model"]["sketch_encoder"]["head"]["kernel"].sharding.device_set) == devices
    trees = state.params, state.opt_state
    held = [sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(tree)) for tree in trees]
    if fsdp:  # an eighth, and what is too small to be cut or has no axis of eight
        assert max(held) < 0.5 * max(whole), (held, whole)
        assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state.batch_stats))
    whole = held
    assert jax.tree.structure(state.batch_stats) == jax.tree.structure(stats)
    moved = [float(abs(a - b).max()) for a, b in zip(jax.tree.leaves(state.batch_stats), jax.tree.leaves(stats))]
    assert not moved or min(moved) > 1e-6
    results.append((losses, jax.device_get((state.params, state.batch_stats))))
try:
    check_divisible("train.batch_size", 12, mesh)
    raise SystemExit("12 rows went onto 8 devices")
except ValueError as error:
    assert "train.batch_size=12 does not divide over 8 devices" in str(error)
(one, p1), *others = results
tolerance = 1e-4 if sys.argv[1] == "resnet" else 1e-5  # a batch norm over few cells magnifies rounding
for eight, p8 in others:
    assert np.allclose(one, eight, rtol=2 * tolerance), (one, eight)
    for a, b in zip(jax.tree.leaves(p1), jax.tree.leaves(p8)):
        assert np.abs(a - b).max() < tolerance
print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vit", "resnet", "swin"])
def test_eight_devices_equal_one(model):
    assert "equal" in run_program(PROGRAM, model, devices=8)


def test_batches_must_divide_and_devices_must_exist():
    mesh = make_mesh(1)
    check_divisible("train.batch_size", 7, mesh)
    with pytest.raises(ValueError, match="99 devices"):
        make_mesh(99)


def test_matrices_are_cut_along_their_longest_axis_that_divides():
    devices = AbstractMesh((4,), ("data",), axis_types=(AxisType.Auto,))
    shapes = {
        "matrix": (64, 128), "odd": (64, 129), "prime": (61, 67), "small": (8, 8), "bias": (4096,), "scalar": (),
        "patches": (1, 197, 768), "convolution": (3, 3, 64, 64),
    }  # fmt: skip
    tree = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    lies = {name: tuple(x.spec) for name, x in param_shardings(tree, devices, fsdp=True).items()}
    assert lies == {
        "matrix": (None, "data"), "odd": ("data",), "prime": (), "small": (), "bias": (), "scalar": (),
        "patches": (None, None, "data"), "convolution": (None, None, "data"),
    }  # fmt: skip
    assert all(tuple(x.spec) == () for x in param_shardings(tree, devices, fsdp=False).values())


def test_what_is_put_onto_devices_is_what_was_given():
    mesh = make_mesh(1)
    tree = {"a": np.arange(6.0).reshape(2, 3), "b": {"c": np.int32(3)}}
    on_mesh = put(tree, param_shardings(tree, mesh, fsdp=True))
    jax.tree.map(np.testing.assert_array_equal, on_mesh, tree)
    assert gathered(on_mesh, mesh) is on_mesh
    np.testing.assert_array_equal(put_rows(tree["a"], mesh), tree["a"])
