"""One optimiser step, compiled once and sharded over the mesh."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from effnet_jax.runs.state import TrainState
from effnet_jax.runtime.interrupt import STOP
from effnet_jax.runtime.sharding import batch_sharded, replicated

Params = dict[str, Any]
BatchStats = dict[str, Any]
Batch = Mapping[str, Array]
Scalars = dict[str, Float[Array, ""]]
Objective = Callable[[Params, BatchStats, Batch, Key[Array, ""]], tuple[Float[Array, ""], tuple[Scalars, BatchStats]]]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    key: Key[Array, ""],
    mesh: Mesh,
    shardings: TrainState | None = None,
    *,
    average_decay: float = 0.0,
) -> TrainStep:
    """Compile (state, batch) -> (state, scalars); the state is donated.

    Parameters that are cut into pieces are put together once, at the start of the step, and the gradient is cut as they
    are, so that each device updates its own pieces only.

    Args:
        objective: to differentiate.
        optimizer: of optax.
        key: root of all draws.
        mesh: devices.
        shardings: how the state lies on them; None: every device holds all of it.
        average_decay: share of the average that a step keeps, where the state has one; less in the first steps.

    Returns:
        The step. Its scalars stay on the device: `loss`, the terms of the objective, `gradient_norm`, the
        `parameter_norm` after the step, and, where the batch says it, `stop`: on how many devices the host asks to
        stop.
    """
    whole = replicated(mesh)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        gradient_of = jax.value_and_grad(objective, has_aux=True)
        rows = {name: row for name, row in batch.items() if name != STOP}
        params = state.params if shardings is None else jax.lax.with_sharding_constraint(state.params, whole)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # blockwise.py asks for it
            (loss, (terms, batch_stats)), gradient = gradient_of(params, state.batch_stats, rows, key)
        if shardings is not None:
            gradient = jax.lax.with_sharding_constraint(gradient, shardings.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = cast(dict[str, Any], optax.apply_updates(state.params, updates))
        scalars = {"loss": loss, **terms, "gradient_norm": optax.tree.norm(gradient)}
        scalars["parameter_norm"] = optax.tree.norm(params)  # not finite: the next loss would not be either
        scalars |= {STOP: jnp.sum(batch[STOP])} if STOP in batch else {}
        average = move_average(state.average, params, state.step, average_decay) if state.average else {}
        return TrainState(state.step + 1, params, opt_state, batch_stats, average), scalars

    kept = whole if shardings is None else shardings
    return jax.jit(train_step, in_shardings=(kept, batch_sharded(mesh)), out_shardings=(kept, whole), donate_argnums=0)


def move_average(average: Params, params: Params, step: Int[Array, ""], decay: float) -> Params:
    """Move the average of the parameters towards them, faster in the first steps, when it still is where it began.

    Args:
        average: so far.
        params: after a step.
        step: steps taken before it.
        decay: share of the average that is kept, in the long run.

    Source: the exponential moving average of TensorFlow's `num_updates`, min(decay, (1 + t) / (10 + t)).

    Example:
        >>> move_average({"w": jnp.array(0.0)}, {"w": jnp.array(1.0)}, jnp.array(0), 0.999)["w"].item()  # keeps a tenth
        0.8999999761581421
    """
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda mean, new: mean + (1 - kept) * (new - mean), average, params)
