"""What differs between the stages; the loop, the step, checkpoints and the report are the same for both."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float32, Key

from effnet_jax.data.mining import GroupedOrder, nearest_photos
from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.experiment import Experiment
from effnet_jax.retrieval.ranking import Ranking
from effnet_jax.runs.saved import abstract
from effnet_jax.runs.state import TrainState, Variables, make_state, state_shardings
from effnet_jax.runtime.hosts import first_then_rest, only_first, say_to_all
from effnet_jax.runtime.sharding import gathered
from effnet_jax.training.optim import make_optimizer
from effnet_jax.training.step import Objective

NEIGHBOURS = 4  # photos looked through for each member of a group, as those that are drawn already are passed over


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


class Stage(ABC):
    """One stage of training. What it cannot run with is refused when it is made, for which stage 2 loads its frozen
    encoders; nothing is compiled or encoded before it is needed.

    Args:
        experiment: the run.

    Attributes:
        selection_protocol: under which checkpoints are compared on the validation photos.
        objective: what training differentiates.
    """

    selection_protocol: ClassVar[str]
    objective: Objective

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        self.config = experiment.config

    @abstractmethod
    def init(self, key: Key[Array, ""]) -> Variables:
        """Give fresh variables; can be traced."""

    def pretrained(self, fresh: Variables) -> Variables:
        """Give fresh variables the values to start from."""
        return fresh

    @abstractmethod
    def batches(
        self, start: int, key: Key[Array, ""], order: GroupedOrder | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Give batches from a step on; the key is that of the augmentation, the order that of the sketches."""

    @abstractmethod
    def photo_embeddings(self, variables: Variables) -> Float32[np.ndarray, "g z"]:
        """Embed the training photos; unit norm."""

    @abstractmethod
    def rank(self, variables: Variables, split: str, protocol: str) -> Ranked:
        """Rank the gallery of a split for each of its sketches."""

    def order(self, variables: Variables) -> GroupedOrder | None:
        """Give the order of the sketches, by the photos that the encoder found alike when the run began.

        Args:
            variables: that training begins with; not looked at where the run has checkpoints.

        Raises:
            ConfigError: the run's record of these photos is gone or damaged.
        """
        config, run, split = self.config, self.experiment.run, self.experiment.splits["train"]
        if not config.train.group:
            return None
        if not say_to_all("looking for checkpoints", lambda: "some" if run.steps() else ""):
            whole = gathered(variables, self.experiment.mesh)
            found = nearest_photos(self.photo_embeddings(whole), NEIGHBOURS * config.train.group)
            only_first("saving the neighbours of photos", lambda: run.write_neighbours(found))
        neighbours = first_then_rest("reading the neighbours of photos", run.read_neighbours)
        return GroupedOrder(split.photo_index, neighbours, config.train.group, config.train.seed)

    @abstractmethod
    def saved_beside(self, variables: Variables) -> Mapping[str, Any]:
        """Give what a checkpoint says about these variables besides; all hosts ask."""

    @abstractmethod
    def step_flops(self) -> float:
        """Count the floating-point operations of a step, all devices together; 0 where they are not counted."""

    def fresh_state(self, key: Key[Array, ""]) -> TrainState:
        """Start at step 0; can be traced."""
        optimizer = make_optimizer(self.config.optim, self.experiment.total_steps)
        return make_state(self.init(key), optimizer, averaged=bool(self.config.train.average))

    @cached_property
    def state(self) -> TrainState:
        """The state of a run by shapes, dtypes and shardings: to make it, or to restore a checkpoint onto it."""
        state = jax.eval_shape(self.fresh_state, jax.random.key(0))
        return abstract(state, state_shardings(state, self.experiment.mesh, fsdp=self.config.parallel.fsdp))

    @property
    def shardings(self) -> TrainState:
        """How the state lies on the mesh."""
        return jax.tree.map(lambda x: x.sharding, self.state)
