"""The stage-1 objective as the training step sees it: augment, encode both domains, align."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from effnet_jax.config import Config
from effnet_jax.data.preprocessing import Preprocessing
from effnet_jax.losses import alignment_loss
from effnet_jax.models.effnet import FunctionalEffNet
from effnet_jax.models.encoder import Encoding
from effnet_jax.training.step import Batch, Objective, Params, Scalars
from effnet_jax.training.views import ANCHOR, AUGMENTED, make_views


def init_params(model: FunctionalEffNet, config: Config, key: Key[Array, ""]) -> Params:
    """Initialise all that is trained: the model and, where it is learned, the logarithm of the temperature."""
    params: Params = {"model": model.init(key)}
    if config.loss.learn_temperature:
        params["log_temperature"] = jnp.log(jnp.float32(config.loss.temperature))
    return params


def make_alignment_objective(config: Config, model: FunctionalEffNet, preprocessing: Preprocessing) -> Objective:
    """Make the function (params, batch, key) -> (loss, terms) that training differentiates.

    Both views of a domain go through the encoder as one batch; the augmented one is made only where its term has a
    weight.
    """
    views = make_views(config.augment, preprocessing)

    def wanted(domain: str) -> tuple[int, ...]:
        return (ANCHOR, AUGMENTED) if getattr(config.loss, f"intra_{domain}") else (ANCHOR,)

    def objective(params: Params, batch: Batch, key: Key[Array, ""]) -> tuple[Float[Array, ""], Scalars]:
        sketch_views, photo_views = (views(domain, batch, key, wanted(domain)) for domain in ("sketch", "photo"))
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
