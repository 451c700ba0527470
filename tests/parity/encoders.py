"""Encoders with weights regenerated from their names, laid in through the tables that files go through."""

from typing import Any

import jax
import numpy as np
from flax import nnx
from goldens import nhwc
from recipe import fill, image

from effnet_jax.config import ModelConfig
from effnet_jax.models.effnet import make_encoder
from effnet_jax.models.trees import depths_of, shapes_of
from effnet_jax.weights.lay import lay
from effnet_jax.weights.recognise import Recognised, recognise


def rebuild(meta: dict[str, Any], config: ModelConfig) -> tuple[Recognised, dict[str, Any], dict[str, Any], jax.Array]:
    """Give what was recognised, backbone parameters, batch statistics, and the images of a recording."""
    params, stats = shapes_of(config)
    tensors = {key: fill(key, tuple(shape), meta["gain"], meta["salt"]) for key, shape in meta["tensors"]}
    found = recognise(tensors, "recording")
    laid = lay(
        found.tensors,
        found.table(depths_of(params["backbone"])),
        params["backbone"],
        stats.get("backbone", {}),
        source="recording",
        ignored=found.ignored,
    )
    return found, *laid, nhwc(image(meta["input_name"], tuple(meta["input_shape"])))


def make_encode(config: ModelConfig):
    """Give the jitted function (params, batch_stats, images, keys) -> (Encoding, new batch_stats)."""
    encoder = nnx.eval_shape(lambda: make_encoder(config, rngs=nnx.Rngs(0)))
    graphdef = nnx.split(encoder, nnx.Param, nnx.BatchStat)[0]

    @jax.jit
    def encode(params, stats, images, keys=None):
        model = nnx.merge(graphdef, params, stats)
        encoding = model(images, keys)
        return encoding, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return encode


def no_head(config: ModelConfig) -> dict[str, np.ndarray]:
    """Parameters of a head of zeros, for recordings of the backbone alone."""
    shapes = shapes_of(config)[0]["head"]
    return {name: np.zeros(x.shape, np.float32) for name, x in shapes.items()}
