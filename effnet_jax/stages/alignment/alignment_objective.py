"""The stage-1 objective as the training step sees it: augment, encode both domains, align."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from effnet_jax.config import Config, LossConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.losses import alignment_loss, pair_cross_entropy
from effnet_jax.models.effnet import FunctionalEffNet
from effnet_jax.models.presets import HAS_BATCH_NORMS
from effnet_jax.retrieval.late_interaction import inked_patches, late_scores, near, unit_patches
from effnet_jax.runs.state import Variables
from effnet_jax.stages.draws import ANCHOR, AUGMENTED, DOMAINS
from effnet_jax.stages.views import encoder_keys, make_views
from effnet_jax.training.micro_batches import in_micro_batches
from effnet_jax.training.step import Batch, BatchStats, Objective, Params, Scalars


def init_variables(model: FunctionalEffNet, config: Config, key: Key[Array, ""]) -> Variables:
    """Initialise all that training changes: the model and, where it is learned, the logarithm of the temperature."""
    params: Params = {"model": model.init(key)}
    if config.loss.learn_temperature:
        params["log_temperature"] = jnp.log(jnp.float32(config.loss.temperature))
    return Variables(params, model.init_batch_stats())


def wanted_views(config: LossConfig, domain: str) -> tuple[int, ...]:
    """Tell which views of a domain the terms of stage 1 look at; the augmented one only for its intra term."""
    return (ANCHOR, AUGMENTED) if getattr(config, f"intra_{domain}") else (ANCHOR,)


def make_alignment_objective(config: Config, model: FunctionalEffNet, preprocessing: Preprocessing) -> Objective:
    """Make the function (params, batch_stats, batch, key) -> (loss, (terms, new batch_stats)) to differentiate.

    The augmented view is made only where its term has a weight. With train.micro_batch_size the rows are encoded in
    parts, and still compared with all others.

    Raises:
        ValueError: micro-batches of a model with batch norms, whose statistics are those of the whole batch.
    """
    micro = config.train.micro_batch_size
    if micro and jax.tree.leaves(jax.eval_shape(model.init_batch_stats)):
        raise ValueError(f"train.micro_batch_size={micro}: {config.model.backbone} {HAS_BATCH_NORMS}")
    views = make_views(config.augment, preprocessing)

    wanted = partial(wanted_views, config.loss)

    def encode(params: Params, batch_stats: BatchStats, batch: Batch, key: Key[Array, ""]) -> Any:
        images = [views(domain, batch, key, wanted(domain)) for domain in DOMAINS]
        draws = [encoder_keys(domain, batch, key, wanted(domain)) for domain in DOMAINS]
        return *model.encode_views(params["model"], batch_stats, *images, *draws), images[0][0]

    def encode_row_by_row(params: Params, key: Key[Array, ""], batch: Batch) -> Any:
        sides, _, _ = encode(params, {}, batch, key)
        # no term looks at the tokens, and those of all rows would be most of the memory
        return [[view._replace(tokens=view.tokens[:, :0]) for view in side] for side in sides]

    def objective(
        params: Params, batch_stats: BatchStats, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[Scalars, BatchStats]]:
        drawings = None
        if micro and micro < len(batch["position"]):
            sketches, photos = in_micro_batches(partial(encode_row_by_row, params, key), batch, micro)
        else:
            (sketches, photos), batch_stats, drawings = encode(params, batch_stats, batch, key)
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
        if config.loss.late and drawings is not None:
            scores = late_batch_scores(config, preprocessing, drawings, sketches[0].tokens, photos[0].tokens)
            groups = None if config.loss.same_photo_negatives else batch["photo_index"]
            terms["late"] = pair_cross_entropy(scores, temperature, groups)
            loss += config.loss.late * terms["late"]
        return loss, ({**terms, "temperature": jnp.asarray(temperature, jnp.float32)}, batch_stats)

    return objective


def late_batch_scores(
    config: Config,
    preprocessing: Preprocessing,
    drawings: Float[Array, "b h w 3"],
    sketches: Float[Array, "b n d"],
    photos: Float[Array, "b n d"],
) -> Float[Array, "b b"]:
    """Score every sketch of a batch with every photo of it by their patches, as retrieval does.

    Args:
        config: of the run; its `late` section says which patches count, and where they look.
        preprocessing: how pixels were scaled.
        drawings: the views of the sketches that were encoded, scaled.
        sketches: their tokens, CLS first.
        photos: tokens of the photos.
    """
    model, late = config.model, config.late
    shown = jnp.clip(drawings * jnp.asarray(preprocessing.std) + jnp.asarray(preprocessing.mean), 0, 1)
    inked = inked_patches(jnp.rint(255 * shown).astype(jnp.uint8), model.patch_size, late.ink)
    patches = jnp.where(inked[..., None], unit_patches(sketches), 0)
    nearby = near(model.image_size // model.patch_size, late.window)
    return late_scores(patches, unit_patches(photos), nearby, at_once=True)
