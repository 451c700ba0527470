"""Stage 1: two encoders, aligned."""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float32, Key

from effnet_jax.config import LateConfig, ModelConfig
from effnet_jax.data.mining import GroupedOrder
from effnet_jax.encoders.centring import Centres, centred_split, domain_means
from effnet_jax.encoders.evaluator import Embeddings, embed_split
from effnet_jax.encoders.tokens import encode_split
from effnet_jax.experiment import Experiment
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.retrieval.scores import unit_rows
from effnet_jax.runs.starting_point import describe_start, refuse_misfits, starting_encoders, with_image_size
from effnet_jax.runs.state import Variables
from effnet_jax.runtime.hosts import check_same, first_then_rest, only_first
from effnet_jax.runtime.sharding import gathered, put
from effnet_jax.stages import late_ranking
from effnet_jax.stages.alignment.alignment_flops import step_flops
from effnet_jax.stages.alignment.alignment_objective import init_variables, make_alignment_objective, wanted_views
from effnet_jax.stages.draws import DOMAINS
from effnet_jax.stages.image_batches import image_batches
from effnet_jax.stages.late_ranking import EncodedSplit
from effnet_jax.stages.stage import Ranked, Stage
from effnet_jax.stages.views import view_names
from effnet_jax.weights.load import load_encoders


class AlignmentStage(Stage):
    """Stage 1: the encoders themselves are trained, and rank by the cosine of their embeddings."""

    selection_protocol = "encoder"

    def __init__(self, experiment: Experiment):
        super().__init__(experiment)
        self._refuse_filling()
        self.objective = make_alignment_objective(self.config, experiment.model, experiment.preprocessing)

    def init(self, key: Key[Array, ""]) -> Variables:
        """Initialise all that stage 1 trains."""
        return init_variables(self.experiment.model, self.config, key)

    def pretrained(self, fresh: Variables) -> Variables:
        """Lay in the encoders that `init_from` names, or the weights that `model.weights` names."""
        if self.config.init_from:
            return started_variables(self.experiment, fresh)
        return pretrained_variables(self.config.model, self.experiment.mesh, fresh)

    def batches(
        self, start: int, key: Key[Array, ""], order: GroupedOrder | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Give batches of images; the step augments them itself."""
        wanted = {domain: wanted_views(self.config.loss, domain) for domain in DOMAINS}
        return image_batches(self.experiment, view_names(self.config.augment, wanted), start, order)

    def photo_embeddings(self, variables: Variables) -> Float32[np.ndarray, "g z"]:
        """Embed the training photos; unit norm."""
        return unit_rows(self._embed(variables, "train").photos)

    def rank(self, variables: Variables, split: str, protocol: str) -> Ranked:
        """Rank by the cosine of embeddings, or by the likeness of patches."""
        experiment = self.experiment
        if protocol in late_ranking.PROTOCOLS:
            late, encoded = self._late(variables), self._encoded(variables, split)
            return late_ranking.rank_late(self.config, experiment.mesh, encoded, protocol, late)
        embeddings = centred_split(self._embed(variables, split), self.centres(variables))
        return Ranked(rank_gallery(*embeddings, experiment.splits[split].photo_index), embeddings)

    def centres(self, variables: Variables) -> Centres:
        """Give the domains' means over the training split; none where nothing is centred."""
        return domain_means(self._embed(variables, "train")) if self.config.train.centring else {}

    def saved_beside(self, variables: Variables) -> Mapping[str, Any]:
        """Give the domains' means and late interaction's weight, so that an index scores as evaluation does."""
        train, late = self.config.train, self.config.late
        whole = gathered(variables, self.experiment.mesh) if train.centring or late.choose_weight else variables
        centres = {domain: mean.tolist() for domain, mean in self.centres(whole).items()}
        return {"centres": centres, "late": dataclasses.asdict(self._late(whole))}

    def _embed(self, variables: Variables, split: str) -> Embeddings:
        config, experiment = self.config, self.experiment
        images = experiment.images(split, (config.model.image_size,))
        program, model = experiment.encode_program(), variables.params["model"]
        return embed_split(program, model, images, variables.batch_stats, batch_size=config.eval.batch_size)

    def _late(self, variables: Variables) -> LateConfig:
        """Give the section `late`, with the weight that is best on held-out photos where it asks for that."""
        if not self.config.late.choose_weight:
            return self.config.late
        held_out = self._encoded(variables, "validation")
        return late_ranking.with_late_weight(self.config, self.experiment.mesh, held_out)

    def _encoded(self, variables: Variables, split: str) -> EncodedSplit:
        config, experiment = self.config, self.experiment
        images = experiment.images(split, (config.model.image_size,))
        program = experiment.encode_program(tokens=config.model.dtype)
        tokens = encode_split(program, variables.params["model"], images, batch_size=config.eval.batch_size)
        embeddings = centred_split(Embeddings(*(rows.embeddings() for rows in tokens)), self.centres(variables))
        pictures, truth = images.sketches(config.model.image_size), experiment.splits[split].photo_index
        return EncodedSplit(tokens, pictures, embeddings, truth)

    def step_flops(self) -> float:
        """Count the operations of the encoders, forward and backward."""
        return step_flops(self.config)

    def _refuse_filling(self) -> None:
        """Refuse before an epoch is trained what no evaluation could encode."""
        if self.config.model.recycling_as_published:
            program = self.experiment.encode_program()
            size = program.whole(self.config.eval.batch_size)
            for split in (split for name, split in self.experiment.splits.items() if name != "train"):
                for pictures in (split.sketch_ids, split.photo_ids):
                    program.refuse_filling(-len(pictures) % size)


def pretrained_variables(config: ModelConfig, mesh: Mesh, fresh: Variables) -> Variables:
    """Give fresh variables the weights that `model.weights` names; they lie on the mesh as before.

    Every encoder gets the same pretrained backbone; heads stay random unless the file has them.

    Raises:
        WeightsError: weights that are not there or do not fit.
    """
    if config.weights == "none":
        return fresh
    model, stats = jax.device_get(gathered((fresh.params["model"], fresh.batch_stats), mesh))
    loaded = first_then_rest("loading model.weights", lambda: load_encoders(config, model, stats))
    return _lay_in(fresh, "model.weights", loaded)


def started_variables(experiment: Experiment, fresh: Variables) -> Variables:
    """Give fresh variables the encoders and heads that `init_from` names, and write down where they come from.

    Raises:
        ConfigError: there are none, or they are others than the configuration asks for.
    """
    config = experiment.config
    encoders = first_then_rest("reading init_from", lambda: starting_encoders(config.init_from))
    encoders = with_image_size(encoders, config.model.image_size)
    refuse_misfits(encoders, config)
    start = describe_start(encoders.origin, config.init_from, experiment.splits)
    only_first("writing where the run starts", lambda: experiment.run.write_start(start))
    return _lay_in(fresh, "init_from", (encoders.params, encoders.batch_stats or fresh.batch_stats))


def _lay_in(fresh: Variables, what: str, loaded: tuple[Any, Any]) -> Variables:
    """Replace the encoders and their statistics by what every host has loaded; they lie on the mesh as before."""
    if jax.process_count() > 1:
        check_same(f"the content of {what}", _digest(loaded))
    shardings = jax.tree.map(lambda x: x.sharding, (fresh.params["model"], fresh.batch_stats))
    encoders, batch_stats = put(loaded, shardings)
    return Variables({**fresh.params, "model": encoders}, batch_stats)


def _digest(tree: Any) -> str:
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()
