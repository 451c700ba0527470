"""The stage-2 objective: TRSM on tokens of the frozen encoders, for sketches with their own photos or with all."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from effnet_jax.config import Config, LossConfig
from effnet_jax.images.augment import row_keys
from effnet_jax.losses import info_nce, pair_cross_entropy, unit_norm, weighted_total
from effnet_jax.models.trsm import TRSM, FunctionalTRSM, PairEncoding
from effnet_jax.runs.state import Variables
from effnet_jax.stages.draws import ANCHOR, AUGMENTED, IN_TRSM
from effnet_jax.training.step import Batch, BatchStats, Objective, Params, Scalars

TOKENS = ("sketch_anchor", "photo_anchor", "sketch_augmented", "photo_augmented")  # names in a batch


def loss_weights(config: Config) -> LossConfig:
    """Give the weights of the four terms under `trsm.loss_terms`.

    Source: the published code adds l1 + l3 + l3 + l4 and only logs the sketch's term l2, which was evidently meant.
    """
    if config.trsm.loss_terms == "published":
        return dataclasses.replace(config.loss, intra_sketch=0.0, intra_photo=2 * config.loss.intra_photo)
    return config.loss


def uses_augmented_view(config: Config) -> bool:
    """Tell whether any weighted term needs the augmented views: both pictures of a pair, whichever term it is."""
    weights = loss_weights(config)
    return bool(weights.intra_sketch or weights.intra_photo)


def init_trsm_variables(trsm: FunctionalTRSM, config: Config, key: Key[Array, ""]) -> Variables:
    """Initialise all that stage 2 trains."""
    params: Params = {"trsm": trsm.init(key)}
    if config.loss.learn_temperature:
        params["log_temperature"] = jnp.log(jnp.float32(config.loss.temperature))
    return Variables(params, {})


def make_trsm_objective(config: Config, trsm: FunctionalTRSM) -> Objective:
    """Make the function (params, batch_stats, batch of tokens, key) -> (loss, (terms, batch_stats)) to differentiate.

    Terms: multi aligns the heads, inter the CLS rows of the two streams; the intra terms align the stream of a pair of
    augmented views with that of the pair of anchors. With all_pairs, multi and inter contrast the cosines of every
    sketch with every photo of the batch, as retrieval does; the intra terms are those of the own pairs.
    """
    weights, dropout = loss_weights(config), config.trsm.dropout
    every = config.trsm.pairing == "all_pairs"
    with_own = trsm.call(TRSM.__call__)
    with_all = trsm.call(encode_all)

    def objective(
        params: Params, batch_stats: BatchStats, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Float[Array, ""], tuple[Scalars, BatchStats]]:
        def keys(view: int) -> Key[Array, "b"] | None:
            return row_keys(key, batch["position"], IN_TRSM[view]) if dropout else None

        temperature = jnp.exp(params["log_temperature"]) if config.loss.learn_temperature else config.loss.temperature
        temperature = jnp.asarray(temperature, jnp.float32)
        groups = None if config.loss.same_photo_negatives else batch["photo_index"]
        contrast = partial(info_nce, temperature=temperature, groups=groups, block_pairs=config.loss.block_pairs)
        photos, sketches = batch["photo_anchor"], batch["sketch_anchor"]
        if every:
            pairs = with_all(params["trsm"], photos, sketches, keys(ANCHOR), batch["position"])
            anchor = jax.tree.map(lambda x: jnp.moveaxis(jnp.diagonal(x), -1, 0), pairs)
            terms = {
                "multi": pair_cross_entropy(
                    _cosine(pairs.sketch_embedding, pairs.photo_embedding), temperature, groups
                ),
                "inter": pair_cross_entropy(_cosine(pairs.sketch_feature, pairs.photo_feature), temperature, groups),
            }
        else:
            anchor = with_own(params["trsm"], photos, sketches, keys(ANCHOR))
            terms = {
                "multi": contrast(anchor.sketch_embedding, anchor.photo_embedding),
                "inter": contrast(anchor.sketch_feature, anchor.photo_feature),
            }
        if "photo_augmented" in batch:
            augmented = with_own(params["trsm"], batch["photo_augmented"], batch["sketch_augmented"], keys(AUGMENTED))
            terms |= {
                "intra_sketch": contrast(augmented.sketch_feature, anchor.sketch_feature),
                "intra_photo": contrast(augmented.photo_feature, anchor.photo_feature),
            }
        return weighted_total(terms, weights), ({**terms, "temperature": temperature}, batch_stats)

    return objective


def encode_all(
    trsm: TRSM,
    photos: Float[Array, "b n d"],
    sketches: Float[Array, "b n d"],
    keys: Key[Array, "b"] | None,
    position: UInt32[Array, "b"],
) -> PairEncoding:
    """Encode every sketch of a batch with every photo of it: axes (b sketches, b photos, ...).

    Args:
        trsm: the module.
        photos: tokens.
        sketches: tokens.
        keys: one per row, for dropout; the key of a pair folds the photo's position into the sketch's key.
        position: of each row in the endless stream.
    """
    pair_keys = None
    if keys is not None:
        fold = jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))
        pair_keys = fold(keys, position)  # (b, b)
    return trsm.all_pairs(trsm.photo_part(photos, keys), trsm.sketch_part(sketches, keys), pair_keys)


def _cosine(a: Float[Array, "b b z"], b: Float[Array, "b b z"]) -> Float[Array, "b b"]:
    return jnp.sum(unit_norm(a) * unit_norm(b), axis=-1)
