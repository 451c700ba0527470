"""TrainState: all that a checkpoint holds."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from effnet_jax.runtime.sharding import param_shardings


class Variables(NamedTuple):
    """All that decides what a model computes.

    Attributes:
        params: trained parameters, nested dict.
        batch_stats: running statistics of batch norms, nested dict; empty for backbones without them.
    """

    params: dict[str, Any]
    batch_stats: dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What training changes. The order of the data and all random draws follow from the step alone.

    Attributes:
        step: optimiser steps taken, int32 scalar (Any, as tree functions put descriptions in place of arrays).
        params: trained parameters, nested dict.
        opt_state: optax state.
        batch_stats: running statistics of batch norms, nested dict; empty for backbones without them.
        average: exponential moving average of the parameters; empty where there is none.
    """

    step: Any
    params: dict[str, Any]
    opt_state: Any
    batch_stats: Any = dataclasses.field(default_factory=dict)
    average: Any = dataclasses.field(default_factory=dict)

    @property
    def variables(self) -> Variables:
        """What the model is evaluated with: the average of the parameters where there is one."""
        return Variables(self.average or self.params, self.batch_stats)

    def started_with(self, variables: Variables) -> "TrainState":
        """Put other variables into a state that has not been trained yet."""
        average = jax.tree.map(jnp.copy, variables.params) if self.average else {}
        return dataclasses.replace(self, params=variables.params, batch_stats=variables.batch_stats, average=average)


def state_shardings(state: TrainState, mesh: Mesh, *, fsdp: bool) -> TrainState:
    """Say how a state lies on the mesh: a TrainState of shardings.

    Args:
        state: arrays or their descriptions.
        mesh: devices.
        fsdp: cut parameters and optimiser state over the devices; batch statistics, which are small, never are.
    """
    shardings = param_shardings(state, mesh, fsdp=fsdp)
    return dataclasses.replace(shardings, batch_stats=param_shardings(state.batch_stats, mesh, fsdp=False))


def make_state(variables: Variables, optimizer: optax.GradientTransformation, *, averaged: bool = False) -> TrainState:
    """Start at step 0 with fresh optimiser state; traceable, so it can run under jit with output shardings."""
    params, batch_stats = variables
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimizer.init(params),
        batch_stats=batch_stats,
        average=jax.tree.map(jnp.copy, params) if averaged else {},
    )
