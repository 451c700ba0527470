"""Encoder: a backbone and a linear head, image -> tokens, feature, embedding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jaxtyping import Array, Float, Key

from effnet_jax.models.backbone import Backbone
from effnet_jax.models.layers import linear
from effnet_jax.models.mstr import MSTR

POOLING = {  # of the patch tokens or cells; "cls" takes the CLS token instead
    "cls": None,
    "mean": lambda patches: jnp.mean(patches, axis=1),
    "max": lambda patches: jnp.max(patches, axis=1),
    "all": lambda patches: rearrange(patches, "b m d -> b (m d)"),
}
RECYCLING = 1 << 16  # place of MSTR's draws among those of the row, behind all blocks
EMBEDDING_SIZE = 512  # z of the paper's scripts


class Encoding(NamedTuple):
    """What an encoder says about b images: n tokens of width d, a feature of width f, an embedding of width z.

    Attributes:
        tokens: in the compute dtype. ViT: final-norm tokens, CLS first; others: the cells of the last feature map in
            raster order. TRSM needs those of a ViT.
        feature: the pooled feature (paper: the CLS token) that the intra and inter losses align; float32.
        embedding: the head's output, which is compared at retrieval; float32, not yet of unit norm.
        decorrelation: with token recycling, its loss of each picture; else None.

    Example:
        >>> from effnet_jax.models.vit import ViT
        >>> vit = ViT(width=8, depth=1, heads=2, image_size=32, rngs=nnx.Rngs(0))
        >>> encoding = Encoder(vit, embedding_size=4, rngs=nnx.Rngs(1))(jnp.ones((2, 32, 32, 3)))
        >>> encoding.tokens.shape, encoding.feature.shape, encoding.embedding.shape
        ((2, 5, 8), (2, 8), (2, 4))
    """

    tokens: Float[Array, "b n d"]
    feature: Float[Array, "b f"]
    embedding: Float[Array, "b z"]
    decorrelation: Float[Array, "b"] | None = None


class Encoder(nnx.Module):
    """Backbone with a linear head on its pooled feature.

    Args:
        backbone: any Backbone.
        pooling: "cls" takes the CLS token (the paper's for ViT), "mean" the mean of the patch tokens (for Swin), "max"
            their maximum (for VGG16, ResNet-50 and Inception-V3), "all" the patch tokens one after another: the
            feature then says what is where, which suits pictures that are framed alike. "" is the backbone's own.
        embedding_size: width z of the embedding.
        recycling: MSTR, through which the head then sees the tokens; the feature stays the CLS token.
        rngs: source of the initialisation key.

    Raises:
        ValueError: an unknown pooling, "cls" of a backbone without a CLS token, or recycling without "cls".

    Source: EffNet section "multi"; head = one Linear on the CLS token, or on what takes its place.

    Example:
        >>> from effnet_jax.models.vit import ViT
        >>> vit = ViT(width=8, depth=1, heads=2, image_size=32, rngs=nnx.Rngs(0))
        >>> encoder = Encoder(vit, pooling="all", embedding_size=4, rngs=nnx.Rngs(1))
        >>> encoder(jnp.ones((2, 32, 32, 3))).feature.shape  # four patches
        (2, 32)
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        pooling: str = "",
        embedding_size: int = EMBEDDING_SIZE,
        recycling: MSTR | None = None,
        rngs: nnx.Rngs,
    ):
        pooling = pooling or backbone.pooling
        if pooling not in POOLING:
            raise ValueError(f"pooling={pooling!r} is not known; choose one of {', '.join(POOLING)}.")
        if pooling == "cls" and not backbone.has_cls:
            raise ValueError(
                f"pooling='cls' needs a CLS token, which {type(backbone).__name__} does not have; "
                f"its own pooling is {backbone.pooling!r}."
            )
        if recycling is not None and pooling != "cls":
            raise ValueError(f"token recycling mixes its tokens into the CLS token; pooling={pooling!r} has none.")
        self.backbone = backbone
        self.pooling = pooling
        self.recycling = recycling
        features = backbone.width * (backbone.patches if pooling == "all" else 1)
        self.head = linear(features, embedding_size, jnp.float32, rngs)

    def __call__(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Encoding:
        """Encode images; feature and embedding are float32 whatever the backbone computes in.

        Args:
            images: scaled pixels.
            keys: one per row while training, see Backbone; None is inference.
        """
        return self.read(self.backbone(images, keys), keys)

    def read(self, tokens: Float[Array, "b n d"], keys: Key[Array, "b"] | None = None) -> Encoding:
        """Make feature and embedding of the backbone's tokens; keys as for images."""
        wide = tokens.astype(jnp.float32)
        pool = POOLING[self.pooling]
        pooled = wide[:, 0] if pool is None else pool(wide[:, 1:] if self.backbone.has_cls else wide)
        feature = self.backbone.finish(pooled) if self.pooling != "all" else pooled  # (b, f)
        if self.recycling is None:
            return Encoding(tokens, feature, self.head(feature))
        own = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, RECYCLING)
        recycled, decorrelation = self.recycling(tokens, own)
        return Encoding(tokens, feature, self.head(recycled), decorrelation)
