"""Batches of images for either stage: the rows of this host, with the sources of the views that are wanted."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from effnet_jax.data.mining import GroupedOrder
from effnet_jax.data.pipeline import train_batches
from effnet_jax.experiment import Experiment
from effnet_jax.images.preprocessing import source_size
from effnet_jax.stages.draws import AUGMENTED


def image_batches(
    experiment: Experiment,
    views: Mapping[str, tuple[str, ...]],
    start: int,
    order: GroupedOrder | None = None,
) -> Iterator[Mapping[str, Any]]:
    """Give the batches of this host from a step on, with the images that the views start from.

    Args:
        experiment: the run.
        views: names of the views by domain; none for a domain whose images are not needed.
        start: first step.
        order: of the sketches; None: at random.
    """
    config = experiment.config
    size = config.model.image_size
    sizes = {source_size(view, size) for names in views.values() for view in names}
    own = {source_size(view, size) for view in views["sketch"]}
    other = config.augment.sketch_views[AUGMENTED]
    sources = {
        name: (experiment.splits[name], experiment.training_images(name, tuple(sorted(sizes or {size}))))
        for name in ("train", "unpaired")
        if name in experiment.splits
    }
    return train_batches(
        *sources["train"],
        views=views,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        image_size=size,
        start_step=start,
        host=jax.process_index(),
        hosts=jax.process_count(),
        workers=config.data.workers or os.cpu_count() or 1,
        unpaired=sources.get("unpaired"),
        unpaired_share=config.data.unpaired_share,
        order=order,
        other_view=other if config.augment.other_sketch and source_size(other, size) in own else "",
    )
