"""Encoders with weights regenerated from their names, laid in through the tables that files go through."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx
from goldens import nhwc
from recipe import fill, image

from effnet_jax.config import ModelConfig
from effnet_jax.models.backbone import Backbone
from effnet_jax.models.effnet import make_encoder
from effnet_jax.models.encoder import Encoder
from effnet_jax.models.trees import depths_of
from effnet_jax.weights.lay import lay
from effnet_jax.weights.recognise import Recognised, recognise


def shaped(what: ModelConfig | Callable[..., Backbone]) -> Encoder:
    """Give an encoder of shapes, of a configuration or around a backbone."""

    def build() -> Encoder:
        rngs = nnx.Rngs(params=jax.random.key(0))
        return make_encoder(what, rngs=rngs) if isinstance(what, ModelConfig) else Encoder(what(rngs=rngs), rngs=rngs)

    return nnx.eval_shape(build)


def rebuild(meta: dict[str, Any], encoder: Encoder) -> tuple[Recognised, dict[str, Any], dict[str, Any], jax.Array]:
    """Give what was recognised, backbone parameters, batch statistics, and the images of a recording."""
    params, stats = (nnx.to_pure_dict(nnx.state(encoder.backbone, kind)) for kind in (nnx.Param, nnx.BatchStat))
    tensors = {key: fill(key, tuple(shape), meta["gain"], meta["salt"]) for key, shape in meta["tensors"]}
    found = recognise(tensors, "recording")
    table = found.table(depths_of(params))
    laid = lay(found.tensors, table, params, stats, source="recording", ignored=found.ignored)
    return found, *laid, nhwc(image(meta["input_name"], tuple(meta["input_shape"])))


def make_encode(encoder: Encoder):
    """Give the jitted function (params, batch_stats, images, keys) -> (Encoding, new batch_stats)."""
    graphdef = nnx.split(encoder, nnx.Param, nnx.BatchStat)[0]

    @jax.jit
    def encode(params, stats, images, keys=None):
        model = nnx.merge(graphdef, params, stats)
        encoding = model(images, keys)
        return encoding, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return encode


def no_head(encoder: Encoder) -> dict[str, np.ndarray]:
    """Parameters of a head of zeros, for recordings of the backbone alone."""
    shapes = nnx.to_pure_dict(nnx.state(encoder.head, nnx.Param))
    return {name: np.zeros(x.shape, np.float32) for name, x in shapes.items()}
