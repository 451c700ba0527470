"""Stage 1: two encoders, aligned."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Key

from effnet_jax.config import ModelConfig
from effnet_jax.data.pipeline import train_batches
from effnet_jax.data.preprocessing import source_size
from effnet_jax.encoders.evaluator import Embedder
from effnet_jax.experiment import Experiment
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.runs.state import Variables
from effnet_jax.runtime.hosts import check_same, first_then_rest
from effnet_jax.runtime.sharding import gathered, put
from effnet_jax.stages.alignment.alignment_objective import init_variables, make_alignment_objective, wanted_views
from effnet_jax.stages.stage import Ranked, Stage, abstract_state
from effnet_jax.training.flops import step_flops
from effnet_jax.weights.load import load_encoders


def alignment_stage(experiment: Experiment) -> Stage:
    """Put stage 1 together; nothing is loaded, compiled or encoded before it is needed."""
    config, model = experiment.config, experiment.model
    embed = Embedder(model, experiment.preprocessing, experiment.mesh, config.eval.batch_size)

    def batches(start: int, key: Key[Array, ""]) -> Iterator[Mapping[str, Any]]:
        names = {"sketch": config.augment.sketch_views, "photo": config.augment.photo_views}
        views = {d: tuple(names[d][i] for i in wanted_views(config.loss, d)) for d in names}
        return image_batches(experiment, views, start)

    def rank(variables: Variables, split: str, protocol: str) -> Ranked:
        images = experiment.images(split, (config.model.image_size,))
        embeddings = embed(variables.params["model"], images, variables.batch_stats)
        return Ranked(rank_gallery(*embeddings, experiment.splits[split].photo_index), embeddings)

    init = partial(init_variables, model, config)
    return Stage(
        init=init,
        state=abstract_state(experiment, init),
        pretrained=partial(pretrained_variables, config.model, experiment.mesh),
        objective=make_alignment_objective(config, model, experiment.preprocessing),
        batches=batches,
        rank=rank,
        step_flops=lambda: step_flops(config),
        selection_protocol="encoder",
    )


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
    if jax.process_count() > 1:
        check_same("the content of model.weights", _digest(loaded))
    lies = jax.tree.map(lambda x: x.sharding, (fresh.params["model"], fresh.batch_stats))
    encoders, batch_stats = put(loaded, lies)
    return Variables({**fresh.params, "model": encoders}, batch_stats)


def _digest(tree: Any) -> str:
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def image_batches(
    experiment: Experiment, views: Mapping[str, tuple[str, ...]], start: int
) -> Iterator[Mapping[str, Any]]:
    """Give the batches of this host from a step on, with the images that the views start from.

    Args:
        experiment: the run.
        views: names of the views by domain; none for a domain whose images are not needed.
        start: first step.
    """
    config = experiment.config
    size = config.model.image_size
    sizes = {source_size(view, size) for names in views.values() for view in names}
    return train_batches(
        experiment.splits["train"],
        experiment.images("train", tuple(sizes or {size})),
        views=views,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        image_size=size,
        start_step=start,
        host=jax.process_index(),
        hosts=jax.process_count(),
        workers=config.data.workers or os.cpu_count() or 1,
    )
