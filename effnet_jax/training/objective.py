"""The stage-1 objective as the training step sees it: augment, encode both domains, align."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from effnet_jax.config import Config
from effnet_jax.data.augment import AugmentOptions, augment, row_keys, source_size
from effnet_jax.data.preprocessing import Preprocessing
from effnet_jax.losses import alignment_loss
from effnet_jax.models.effnet import BatchStats, FunctionalEffNet

Params = dict[str, Any]
Batch = Mapping[str, Array]
Scalars = dict[str, Float[Array, ""]]
Objective = Callable[[Params, BatchStats, Batch, Key[Array, ""]], tuple[Float[Array, ""], tuple[Scalars, BatchStats]]]

_BRANCHES = {("sketch", 0): 0, ("sketch", 1): 1, ("photo", 0): 2, ("photo", 1): 3}
_IN_ENCODER = 4  # added to the branch of what the encoder draws for a view


def init_params(model: FunctionalEffNet, config: Config, key: Key[Array, ""]) -> Params:
    """Initialise all that is trained: the model and, where it is learned, the logarithm of the temperature."""
    params: Params = {"model": model.init(key)}
    if config.loss.learn_temperature:
        params["log_temperature"] = jnp.log(jnp.float32(config.loss.temperature))
    return params


def make_alignment_objective(config: Config, model: FunctionalEffNet, preprocessing: Preprocessing) -> Objective:
    """Make the function (params, batch_stats, batch, key) -> (loss, (terms, new batch_stats)) to differentiate.

    Each of the two views draws its own augmentation, keyed by the row's position in the endless stream, so that the
    draw depends neither on the number of hosts nor on the rows beside it; so does what the encoder draws for it. The
    augmented view is made only where its term has a weight.
    """
    chosen = config.augment
    options = AugmentOptions(
        fill=chosen.fill,
        max_angle=chosen.max_angle,
        mirror=chosen.mirror,
        crop_area=chosen.crop_area,
        crop_ratio=chosen.crop_ratio,
        crop_mirror=chosen.crop_mirror,
        jitter=chosen.jitter,
    )

    def views(domain: str, batch: Batch, key: Key[Array, ""]) -> tuple[list[Array], list[Array]]:
        names = getattr(config.augment, f"{domain}_views")
        images, keys = [], []
        for i, name in enumerate(names if getattr(config.loss, f"intra_{domain}") else names[:1]):
            source = batch[f"{domain}_{source_size(name, preprocessing.image_size)}"]
            branch = _BRANCHES[domain, i]
            draws = row_keys(key, batch["position"], branch)
            images.append(augment(name, source, draws, preprocessing, options))
            keys.append(row_keys(key, batch["position"], branch + _IN_ENCODER))
        return images, keys

    def objective(
        params: Params, batch_stats: BatchStats, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[Scalars, BatchStats]]:
        (sketch_views, sketch_keys), (photo_views, photo_keys) = (
            views("sketch", batch, key), views("photo", batch, key),
        )  # fmt: skip
        (sketches, photos), batch_stats = model.encode_views(
            params["model"], batch_stats, sketch_views, photo_views, sketch_keys, photo_keys
        )
        temperature = jnp.exp(params["log_temperature"]) if config.loss.learn_temperature else config.loss.temperature
        loss, terms = alignment_loss(
            sketches[0],
            photos[0],
            sketches[1] if len(sketches) > 1 else None,
            photos[1] if len(photos) > 1 else None,
            config=config.loss,
            temperature=temperature,
            photo_index=batch["photo_index"],
        )
        return loss, ({**terms, "temperature": jnp.asarray(temperature, jnp.float32)}, batch_stats)

    return objective
