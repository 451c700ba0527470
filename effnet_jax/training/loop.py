"""The training loop."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.state import TrainState
from effnet_jax.runtime.interrupt import Interrupt, StopVote
from effnet_jax.runtime.sharding import put_batch
from effnet_jax.training.step import TrainStep
from effnet_jax.training.writers import TrainLog

Evaluate = Callable[[TrainState], dict[str, float]]


class InterruptedRun(Exception):
    """The run was asked to stop and was saved; starting the same command again goes on from there."""


def fit(
    state: TrainState,
    batches: Iterator[Mapping[str, np.ndarray | jax.Array]],
    train_step: TrainStep,
    evaluate: Evaluate,
    *,
    total_steps: int,
    log_every: int,
    evaluate_every: float,
    save_every: int,
    log: TrainLog,
    checkpoints: Checkpoints,
    metadata: Callable[[TrainState], Mapping[str, Any]],
    mesh: Mesh,
) -> TrainState:
    """Train from the state's step to `total_steps`.

    Args:
        state: initial or restored state; donated to the first step.
        batches: from that step on, on the host or already on the mesh.
        train_step: compiled step.
        evaluate: state -> selection metrics; empty when nothing is held out.
        total_steps: last step.
        log_every: steps between logged scalars, which stay on the device until then; `StopVote` bounds how far the host
            runs ahead.
        evaluate_every: steps between evaluations, each followed by a checkpoint; may be fractional, as epochs are.
        save_every: steps between further checkpoints; 0 for none.
        log: takes the scalars.
        checkpoints: takes the states.
        metadata: state -> JSON saved beside it.
        mesh: where the batches go.

    Returns:
        The state at the last step, saved.

    Raises:
        InterruptedRun: after SIGTERM or Ctrl-C, when the state is on disk.
        DivergedError: the loss is not finite.
    """
    with Interrupt() as interrupt:
        vote = StopVote(interrupt, mesh)
        for step in range(int(state.step) + 1, total_steps + 1):
            # 1. next batch
            batch = put_batch({**next(batches), **vote.ballot()}, mesh)
            # 2. step
            state, scalars = train_step(state, batch)
            stopping, scalars = vote.decided(scalars)  # asked once per step: what is saved is what is said
            # 3. log; a flush also proves every loss and the parameters finite, so nothing bad is ever saved
            evaluation_due = step == round(round(step / evaluate_every) * evaluate_every) or step == total_steps
            save_due = evaluation_due or bool(save_every and step % save_every == 0) or stopping
            log.add(step, scalars)
            if step % log_every == 0 or save_due:
                log.flush()
            # 4. evaluate
            metrics: dict[str, float] = {}
            if evaluation_due:
                started = time.monotonic()
                metrics = evaluate(state)
                if metrics:
                    log.write(step, metrics)
                    log.say(f"step {step}: " + "  ".join(f"{k} {v:.4g}" for k, v in metrics.items()))
                log.skip_time(time.monotonic() - started)
            # 5. save
            if save_due:
                started = time.monotonic()
                beside = metadata(state)
                log.skip_time(time.monotonic() - started)
                checkpoints.save(state, beside, metrics)
            # 6. preemption check
            if stopping and step < total_steps:
                checkpoints.wait()
                raise InterruptedRun(f"stopped at step {step} of {total_steps}, saved; the same command goes on.")
    checkpoints.wait()
    return state
