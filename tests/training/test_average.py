"""The moving average of the parameters: what is evaluated, saved and taken out of a run; resumed bit for bit.

With Muon, whose state is of several kinds.
"""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny import tiny_config, write_pairs

from effnet_jax import run
from effnet_jax.config import ConfigError, TrsmConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.folder import trained_encoders
from effnet_jax.runs.saved import abstract
from effnet_jax.runs.state import TrainState
from effnet_jax.training.step import move_average


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("average")


@pytest.fixture(scope="module")
def config(home):
    config = tiny_config(write_pairs(home / "pairs", range(44), range(44, 60)), home)
    train = dataclasses.replace(config.train, average=0.9, keep_checkpoints=9, checkpoint_every_steps=1, epochs=1.0)
    return dataclasses.replace(config, train=train, optim=dataclasses.replace(config.optim, name="muon"))


@pytest.fixture(scope="module")
def trained(config, home):
    return run.train(config, home / "run")


@pytest.fixture(scope="module")
def plain(config, home):
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, average=0.0))
    return config, run.train(config, home / "plain")


def state(workdir, step=None):
    steps = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(workdir / "checkpoints" / str(step or steps[-1]) / "state"), steps


def assert_equal(first, second):
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_follows_the_parameters(trained, home):
    """Step by step, from the parameters that were saved."""
    _, steps = state(home / "run")
    before, _ = state(home / "run", steps[0])
    for step in steps[1:]:
        after, _ = state(home / "run", step)
        expected = move_average(before["average"], after["params"], jnp.asarray(before["step"]), 0.9)
        for a, b in zip(jax.tree.leaves(after["average"]), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)
        before = after
    both = zip(*map(jax.tree.leaves, (before["average"], before["params"])), strict=True)
    assert max(np.abs(a - b).max() for a, b in both) > 1e-5


def test_the_average_is_what_is_evaluated_and_taken_out(trained, plain, home):
    saved, _ = state(home / "run")
    assert_equal(trained_encoders(home / "run", "last").params, saved["average"]["model"])
    without, _ = state(home / "plain")
    assert_equal(without["params"], saved["params"])  # training itself is the same
    assert not without.get("average")
    assert plain[1][0].summary.mrr != trained[0].summary.mrr


def test_a_resumed_run_ends_in_the_same_bits(trained, config, home):
    shutil.copytree(home / "run", home / "again")
    straight, steps = state(home / "run")
    shutil.rmtree(home / "again" / "checkpoints" / str(steps[-1]))
    run.train(config, home / "again")
    assert_equal(state(home / "again")[0], straight)


def test_a_start_from_it_takes_the_average_and_both_stages_do(trained, config, home):
    averaged = trained_encoders(home / "run").params
    still = dataclasses.replace(
        config,
        init_from=str(home / "run"),
        optim=dataclasses.replace(config.optim, learning_rate=1e-30),
        train=dataclasses.replace(config.train, max_steps=1),
    )
    run.train(still, home / "then")
    saved, _ = state(home / "then")
    assert_equal(saved["params"]["model"], averaged)
    for a, b in zip(jax.tree.leaves(saved["average"]["model"]), jax.tree.leaves(averaged), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    run.train(dataclasses.replace(still, trsm=TrsmConfig(enabled=True, heads=2)), home / "stage2")
    with ocp.StandardCheckpointer() as checkpointer:
        assert_equal(checkpointer.restore(home / "stage2" / "encoders"), averaged)
    assert trained_encoders(home / "stage2").pair_module is not None


def test_a_checkpoint_that_has_no_such_field_is_restored(tmp_path):
    """As those of earlier versions."""
    state = TrainState(jnp.asarray(3), {"w": jnp.ones(4)}, {"m": jnp.zeros(4)})
    older = {"step": state.step, "params": state.params, "opt_state": state.opt_state}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(state, {}, {})
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "3" / "state", older, force=True)
    (tmp_path / "3" / "files.json").unlink(missing_ok=True)
    like = abstract(state, jax.sharding.SingleDeviceSharding(jax.devices()[0]))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert_equal(checkpoints.restore(3, like), state)


def test_a_decay_of_one_is_refused():
    with pytest.raises(ConfigError, match=r"train\.average=1.0 must lie in \[0, 1\)"):
        from_mapping({"train": {"average": 1.0}})
