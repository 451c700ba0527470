"""EffNet: one encoder for sketches and one for photos, and the same as pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from effnet_jax.config import ModelConfig
from effnet_jax.models.encoder import Encoder, Encoding
from effnet_jax.models.vit import PRESETS, ViT

Params = dict[str, Any]  # nested dict of float32 arrays


class EffNet(nnx.Module):
    """Two encoders of one architecture with separate weights, or a single one shared by both domains.

    Args:
        config: architecture; `shared_encoders` gives backbone and head to both domains.
        rngs: source of the initialisation key.

    Source: EffNet section 3. `shared_encoders` is ours: on small data sets it is far ahead (docs/results.md).
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.shared = config.shared_encoders
        if config.shared_encoders:
            self.encoder = make_encoder(config, rngs=rngs)
        else:
            self.sketch_encoder = make_encoder(config, rngs=rngs)
            self.photo_encoder = make_encoder(config, rngs=rngs)

    def encode_sketches(self, images: Float[Array, "b h w 3"]) -> Encoding:
        """Encode scaled sketch images."""
        return (self.encoder if self.shared else self.sketch_encoder)(images)

    def encode_photos(self, images: Float[Array, "b h w 3"]) -> Encoding:
        """Encode scaled photo images."""
        return (self.encoder if self.shared else self.photo_encoder)(images)

    def __call__(self, sketches: Float[Array, "b h w 3"], photos: Float[Array, "c h w 3"]) -> tuple[Encoding, Encoding]:
        """Encode both domains; a shared encoder sees them as one batch, which makes its products larger."""
        if not self.shared:
            return self.sketch_encoder(sketches), self.photo_encoder(photos)
        both = self.encoder(jnp.concatenate([sketches, photos]))
        b = sketches.shape[0]
        return Encoding(*(x[:b] for x in both)), Encoding(*(x[b:] for x in both))


def make_encoder(config: ModelConfig, *, rngs: nnx.Rngs) -> Encoder:
    """Build one encoder: the preset named by `config.backbone`, with its sizes overridden where given."""
    width, depth, heads = PRESETS[config.backbone]
    backbone = ViT(
        width=config.width or width,
        depth=config.depth or depth,
        heads=config.heads or heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        dtype=jnp.dtype(config.dtype),
        remat=config.remat,
        stem=config.stem,
        rngs=rngs,
    )
    return Encoder(backbone, pooling=config.pooling, embedding_size=config.embedding_size, rngs=rngs)


class FunctionalEffNet(NamedTuple):
    """EffNet as pure functions over a plain dict of parameters; all of them can be jitted.

    Attributes:
        init: key -> parameters.
        encode_sketches: parameters, images -> Encoding.
        encode_photos: parameters, images -> Encoding.
        encode: parameters, sketches, photos -> both Encodings.
    """

    init: Callable[[Key[Array, ""]], Params]
    encode_sketches: Callable[[Params, Float[Array, "b h w 3"]], Encoding]
    encode_photos: Callable[[Params, Float[Array, "b h w 3"]], Encoding]
    encode: Callable[[Params, Float[Array, "b h w 3"], Float[Array, "c h w 3"]], tuple[Encoding, Encoding]]


def make_functional(config: ModelConfig) -> FunctionalEffNet:
    """Turn the module into pure functions, without allocating any parameters.

    The training loop carries plain dicts because they cost a fraction of the per-step overhead of module state.
    """

    def build(key: Key[Array, ""]) -> EffNet:
        return EffNet(config, rngs=nnx.Rngs(params=key))

    graphdef = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))[0]

    def init(key: Key[Array, ""]) -> Params:
        return nnx.to_pure_dict(nnx.state(build(key), nnx.Param))

    def method(name: str) -> Callable[..., Any]:
        def apply(params: Params, *images: Float[Array, "_ h w 3"]) -> Any:
            with jax.default_matmul_precision(config.precision):
                return getattr(nnx.merge(graphdef, params), name)(*images)

        return apply

    return FunctionalEffNet(init, method("encode_sketches"), method("encode_photos"), method("__call__"))
