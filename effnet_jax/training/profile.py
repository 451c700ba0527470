"""A profiler trace of a few training steps, for TensorBoard's profile plugin or Perfetto."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from effnet_jax.runs.state import TrainState
from effnet_jax.training.step import Batch, Scalars, TrainStep


@contextmanager
def profiled(train_step: TrainStep, steps: tuple[int, ...], start_step: int, folder: Path) -> Iterator[TrainStep]:
    """Give the step, wrapped so that the steps from the first to the last of `steps` are traced.

    The trace holds whole steps: the device is waited for before the first and after the last of them. What the loop
    does between steps, batches and logs included, is in it.

    Args:
        train_step: compiled step.
        steps: first and last step to trace, counted from 1; (0, 0) traces nothing.
        start_step: steps that the state has behind it.
        folder: where the trace goes.
    """
    first, last = steps
    if not first or last <= start_step:
        yield train_step
        return
    done, tracing = start_step, False

    def traced(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        nonlocal done, tracing
        done += 1
        if done == max(first, start_step + 1):
            jax.block_until_ready(state.params)
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every call of Python listed would slow the host that is looked at
            jax.profiler.start_trace(folder, profiler_options=options)
            tracing = True
        if not tracing:
            return train_step(state, batch)
        with jax.profiler.StepTraceAnnotation("train", step_num=done):
            state, scalars = train_step(state, batch)
        if done == last:
            jax.block_until_ready((state.params, scalars))
            jax.profiler.stop_trace()
            tracing = False
        return state, scalars

    try:
        yield traced
    finally:
        if tracing:  # the run ended, or was stopped, before the last of the steps
            jax.profiler.stop_trace()
