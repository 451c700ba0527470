"""One optimiser step, compiled once and sharded over the mesh."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

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
        return TrainState(step=state.step + 1, params=params, opt_state=opt_state, batch_stats=batch_stats), scalars

    kept = whole if shardings is None else shardings
    return jax.jit(train_step, in_shardings=(kept, batch_sharded(mesh)), out_shardings=(kept, whole), donate_argnums=0)
