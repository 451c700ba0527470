"""What differs between the stages; the loop, the step, checkpoints and the report are the same for both."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Key

from effnet_jax.config import Config
from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.experiment import Experiment
from effnet_jax.retrieval.ranking import Ranking
from effnet_jax.runs.saved import abstract
from effnet_jax.runs.state import TrainState, Variables, make_state, state_shardings
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.step import Objective


class Ranked(NamedTuple):
    """A ranking of a split under one protocol.

    Attributes:
        ranking: of every sketch.
        embeddings: what was compared, where each picture has one embedding.
        notes: sentences a reader of the figures needs.
    """

    ranking: Ranking
    embeddings: Embeddings | None = None
    notes: tuple[str, ...] = ()


class Stage(NamedTuple):
    """One stage of training.

    Attributes:
        init: key -> fresh variables; can be traced.
        state: describes the state of a run and how it lies on the mesh, to make it or to restore a checkpoint onto it.
        pretrained: fresh variables -> variables to start from.
        objective: what training differentiates.
        batches: first step, key of the augmentation -> batches from that step on.
        rank: variables, name of a split, protocol -> its ranking.
        step_flops: -> floating-point operations of a training step, all devices together; 0 where not counted.
        selection_protocol: under which checkpoints are compared on the validation photos.
    """

    init: Callable[[Key[Array, ""]], Variables]
    state: TrainState
    pretrained: Callable[[Variables], Variables]
    objective: Objective
    batches: Callable[[int, Key[Array, ""]], Iterator[Mapping[str, Any]]]
    rank: Callable[[Variables, str, str], Ranked]
    step_flops: Callable[[], float]
    selection_protocol: str


def fresh_state(
    config: Config, init: Callable[[Key[Array, ""]], Variables], total_steps: int, key: Key[Array, ""]
) -> TrainState:
    """Start at step 0; can be traced."""
    return make_state(init(key), make_optimizer(config.optim, total_steps))


def abstract_state(experiment: Experiment, init: Callable[[Key[Array, ""]], Variables]) -> TrainState:
    """Describe the state that training starts from, and how it lies on the mesh."""
    state = jax.eval_shape(
        lambda key: fresh_state(experiment.config, init, experiment.total_steps, key), jax.random.key(0)
    )
    return abstract(state, state_shardings(state, experiment.mesh, fsdp=experiment.config.parallel.fsdp))
