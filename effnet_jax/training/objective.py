"""The stage-1 objective as the training step sees it: augment, encode both domains, align."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from effnet_jax.config import Config
from effnet_jax.data.augment import AugmentOptions, augment, row_keys, source_size
from effnet_jax.data.preprocessing import Preprocessing
from effnet_jax.losses import alignment_loss
from effnet_jax.models.effnet import FunctionalEffNet
from effnet_jax.models.encoder import Encoding

Params = dict[str, Any]
Batch = Mapping[str, Array]
Scalars = dict[str, Float[Array, ""]]
Objective = Callable[[Params, Batch, Key[Array, ""]], tuple[Float[Array, ""], Scalars]]

_BRANCHES = {("sketch", 0): 0, ("sketch", 1): 1, ("photo", 0): 2, ("photo", 1): 3}


def init_params(model: FunctionalEffNet, config: Config, key: Key[Array, ""]) -> Params:
    """Initialise all that is trained: the model and, where it is learned, the logarithm of the temperature."""
    params: Params = {"model": model.init(key)}
    if config.loss.learn_temperature:
        params["log_temperature"] = jnp.log(jnp.float32(config.loss.temperature))
    return params


def make_alignment_objective(config: Config, model: FunctionalEffNet, preprocessing: Preprocessing) -> Objective:
    """Make the function (params, batch, key) -> (loss, terms) that training differentiates.

    Each of the two views draws its own augmentation, keyed by the row's position in the endless stream, so that the
    draw depends neither on the number of hosts nor on the rows beside it. Both views of a domain go through the
    encoder as one batch; the augmented one is made only where its term has a weight.
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

    def views(domain: str, batch: Batch, key: Key[Array, ""]) -> list[Float[Array, "b h w 3"]]:
        names = getattr(config.augment, f"{domain}_views")
        return [
            augment(
                name,
                batch[f"{domain}_{source_size(name, preprocessing.image_size)}"],
                row_keys(key, batch["position"], _BRANCHES[domain, i]),
                preprocessing,
                options,
            )
            for i, name in enumerate(names if getattr(config.loss, f"intra_{domain}") else names[:1])
        ]

    def objective(params: Params, batch: Batch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Scalars]:
        sketch_views, photo_views = views("sketch", batch, key), views("photo", batch, key)
        sketch, photo = model.encode(params["model"], jnp.concatenate(sketch_views), jnp.concatenate(photo_views))
        anchor_sketch, augmented_sketch = _by_view(sketch, len(sketch_views))
        anchor_photo, augmented_photo = _by_view(photo, len(photo_views))
        temperature = jnp.exp(params["log_temperature"]) if config.loss.learn_temperature else config.loss.temperature
        loss, terms = alignment_loss(
            anchor_sketch,
            anchor_photo,
            augmented_sketch,
            augmented_photo,
            config=config.loss,
            temperature=temperature,
            photo_index=batch["photo_index"],
        )
        return loss, {**terms, "temperature": jnp.asarray(temperature, jnp.float32)}

    return objective


def _by_view(encoding: Encoding, views: int) -> tuple[Encoding, Encoding | None]:
    """Cut the encoding of the views, one after another, into anchor and augmented."""
    if views == 1:
        return encoding, None
    b = encoding.feature.shape[0] // 2
    return jax.tree.map(lambda x: x[:b], encoding), jax.tree.map(lambda x: x[b:], encoding)
