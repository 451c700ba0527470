"""Attention maps of a ViT, computed anew from the inputs of its blocks: training never stores or returns them."""

from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from effnet_jax.config import ModelConfig
from effnet_jax.models.effnet import EffNet
from effnet_jax.models.vit import Attention, ViT

Params = dict[str, Any]
Maps = Callable[[Params, Float[Array, "b h w 3"]], Float[Array, "l b k n n"]]


def attention_maps(backbone: ViT, images: Float[Array, "b h w 3"]) -> Float[Array, "l b k n n"]:
    """Give the post-softmax attention of every block, with the module's own weights.

    Args:
        backbone: a ViT.
        images: scaled pixels of its image size.

    Returns:
        Layer by layer, head by head: row i says how much token i takes from each token; rows sum to 1. Token 0 is CLS.
    """
    x, maps = backbone.embed(images), []
    for block in backbone.blocks:
        maps.append(_map(block.attn, block.norm1(x)))
        x = block(x)
    return jnp.stack(maps)


def make_attention_maps(config: ModelConfig, domain: str) -> Maps:
    """Make the compiled function parameters of EffNet, scaled images -> attention maps of one domain's encoder.

    Args:
        config: architecture.
        domain: "sketch" or "photo".

    Raises:
        ValueError: the backbone is no ViT, so it has no such maps.
    """
    shapes = nnx.eval_shape(lambda: EffNet(config, rngs=nnx.Rngs(params=jax.random.key(0))))
    encoder = shapes.encoder if shapes.shared else getattr(shapes, f"{domain}_encoder")
    if not isinstance(encoder.backbone, ViT):
        raise ValueError(f"model.backbone={config.backbone} has no attention over all patches; only ViTs have.")
    graphdef = nnx.split(shapes)[0]

    def maps(params: Params, images: Float[Array, "b h w 3"]) -> Float[Array, "l b k n n"]:
        model = nnx.merge(graphdef, params)
        backbone = (model.encoder if model.shared else getattr(model, f"{domain}_encoder")).backbone
        with jax.default_matmul_precision(config.precision):
            return attention_maps(cast(ViT, backbone), images)

    return jax.jit(maps)


def _map(attention: Attention, x: Float[Array, "b n d"]) -> Float[Array, "b k n n"]:
    query, key, _ = rearrange(attention.qkv(x), "b n (three k e) -> three b k n e", three=3, k=attention.heads)
    logits = jnp.einsum(
        "b k n e, b k m e -> b k n m", query * query.shape[-1] ** -0.5, key, preferred_element_type=jnp.float32
    )
    return jax.nn.softmax(logits, axis=-1)
