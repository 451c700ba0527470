"""One optimiser step, compiled once and sharded over the mesh."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import jax
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Key

from effnet_jax.sharding import batch_sharded, replicated
from effnet_jax.training.state import TrainState

Params = dict[str, Any]
BatchStats = dict[str, Any]
Batch = Mapping[str, Array]
Scalars = dict[str, Float[Array, ""]]
Objective = Callable[[Params, BatchStats, Batch, Key[Array, ""]], tuple[Float[Array, ""], tuple[Scalars, BatchStats]]]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Scalars]]


def make_train_step(
    objective: Objective, optimizer: optax.GradientTransformation, key: Key[Array, ""], mesh: Mesh
) -> TrainStep:
    """Compile (state, batch) -> (state, scalars); the state is donated.

    Returns:
        The step. Its scalars stay on the device: `loss`, the terms of the objective, `gradient_norm`.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        gradient_of = jax.value_and_grad(objective, has_aux=True)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # blockwise.py asks for it
            (loss, (terms, batch_stats)), gradient = gradient_of(state.params, state.batch_stats, batch, key)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = cast(dict[str, Any], optax.apply_updates(state.params, updates))
        scalars = {"loss": loss, **terms, "gradient_norm": optax.tree.norm(gradient)}
        return TrainState(step=state.step + 1, params=params, opt_state=opt_state, batch_stats=batch_stats), scalars

    whole = replicated(mesh)
    return jax.jit(
        train_step, in_shardings=(whole, batch_sharded(mesh)), out_shardings=(whole, whole), donate_argnums=0
    )
