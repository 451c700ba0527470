"""Encoder: a backbone and a linear head, image -> tokens, feature, embedding."""

from typing import NamedTuple

import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float

from effnet_jax.models.vit import INIT_STD, ViT

POOLING = {
    "cls": lambda tokens: tokens[:, 0],
    "mean": lambda tokens: jnp.mean(tokens[:, 1:], axis=1),
    "all": lambda tokens: rearrange(tokens[:, 1:], "b m d -> b (m d)"),
}
EMBEDDING_SIZE = 512  # z of the paper's scripts


class Encoding(NamedTuple):
    """What an encoder says about a batch of images.

    Attributes:
        tokens: final-norm tokens, CLS first, in the compute dtype.
        feature: the pooled feature (paper: the CLS token) that the intra and inter losses align; float32.
        embedding: the head's output, which is compared at retrieval; float32, not yet of unit norm.
    """

    tokens: Float[Array, "b n d"]
    feature: Float[Array, "b f"]
    embedding: Float[Array, "b z"]


class Encoder(nnx.Module):
    """Backbone with a linear head on its pooled feature.

    Args:
        backbone: module that maps images to tokens, and knows its `width` and number of `patches`.
        pooling: "cls" takes the CLS token (the paper's), "mean" the mean of the patch tokens, "all" the patch tokens
            one after another: the feature then says what is where, which suits pictures that are framed alike.
        embedding_size: width z of the embedding.
        rngs: source of the initialisation key.

    Source: EffNet section "multi"; head = one Linear on the CLS token.
    """

    def __init__(self, backbone: ViT, *, pooling: str = "cls", embedding_size: int = EMBEDDING_SIZE, rngs: nnx.Rngs):
        if pooling not in POOLING:
            raise ValueError(f"pooling={pooling!r} is not known; choose one of {', '.join(POOLING)}.")
        self.backbone = backbone
        self.pooling = pooling
        self.head = nnx.Linear(
            backbone.width * (backbone.patches if pooling == "all" else 1),
            embedding_size,
            kernel_init=nnx.initializers.truncated_normal(INIT_STD),
            dtype=jnp.float32,
            rngs=rngs,
        )

    def __call__(self, images: Float[Array, "b h w 3"]) -> Encoding:
        """Encode images; feature and embedding are float32 whatever the backbone computes in."""
        tokens = self.backbone(images)
        feature = POOLING[self.pooling](tokens.astype(jnp.float32))  # (b, f)
        return Encoding(tokens, feature, self.head(feature))
