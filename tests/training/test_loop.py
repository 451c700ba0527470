"""The loop's promises: what it says is saved is saved, nothing bad is saved, evaluations keep to the epochs."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.state import TrainState
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.training.loop import InterruptedRun, fit
from effnet_jax.training.writers import DivergedError, TrainLog


class StopsIn(TrainLog):
    """A log that is interrupted while it waits for the device, where a run spends its time."""

    signal_at = 0

    def flush(self):
        if self._pending and self._pending[-1][0] == self.signal_at:
            os.kill(os.getpid(), signal.SIGTERM)
        super().flush()


def step_until(bad=None):
    def train_step(state, batch):
        step = state.step + 1
        value = jnp.where(step == bad, jnp.nan, state.params["w"] + 1)
        norms = {"gradient_norm": jnp.ones(()), "parameter_norm": jnp.abs(value)}
        return TrainState(step, {"w": value}, {}), {"loss": jnp.ones(()), **norms}

    return jax.jit(train_step)


def train(workdir, train_step, *, total=20, every=7.5, log_every=4, signal_at=0, evaluated=None):
    state = TrainState(jnp.zeros((), jnp.int32), {"w": jnp.zeros(())}, {})
    options = {"start_step": 0, "total_steps": total, "batch_size": 2, "progress": False}
    workdir.mkdir(exist_ok=True)

    def evaluate(state):
        (evaluated if evaluated is not None else []).append(int(state.step))
        return {}

    with (
        Checkpoints(workdir / "checkpoints", keep=2) as checkpoints,
        StopsIn(workdir / "metrics.jsonl", **options) as log,
    ):
        log.signal_at = signal_at
        return fit(
            state,
            iter(lambda: {"x": np.zeros((2, 1), np.float32)}, None),
            train_step,
            evaluate,
            total_steps=total,
            log_every=log_every,
            evaluate_every=every,
            save_every=0,
            log=log,
            checkpoints=checkpoints,
            metadata=lambda state: {},
            mesh=make_mesh(1),
        )


def saved(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())


def test_a_signal_while_the_loop_waits_is_saved_at_the_step_it_names(tmp_path):
    with pytest.raises(InterruptedRun, match="stopped at step 5 of 20, saved"):
        train(tmp_path / "run", step_until(), signal_at=4)
    assert saved(tmp_path / "run") == [5]


def test_parameters_that_are_not_finite_are_never_saved(tmp_path):
    with pytest.raises(DivergedError, match=r"step 15.*parameter_norm=nan.*new --workdir"):
        train(tmp_path / "run", step_until(bad=15))
    assert saved(tmp_path / "run") == [8]  # the evaluation after one epoch of 7.5 steps


def test_evaluations_keep_to_epochs_of_fractional_length(tmp_path):
    evaluated = []
    train(tmp_path / "run", step_until(), total=30, evaluated=evaluated)
    assert evaluated == [8, 15, 22, 30]
