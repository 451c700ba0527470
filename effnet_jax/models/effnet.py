"""EffNet: one encoder for sketches and one for photos, and the same as pure functions."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from effnet_jax.config import ModelConfig
from effnet_jax.models.encoder import Encoder, Encoding
from effnet_jax.models.mstr import MSTR
from effnet_jax.models.presets import build_backbone, preset_of

Params = dict[str, Any]  # nested dict of float32 arrays
BatchStats = dict[str, Any]  # nested dict of the running statistics of batch norms; empty for most backbones
Images = Float[Array, "_ h w 3"]
RowKeys = Key[Array, "_"]  # one per row, see Backbone


class EffNet(nnx.Module):
    """Two encoders of one architecture with separate weights, or a single one shared by both domains.

    Args:
        config: architecture; `shared_encoders` gives backbone and head to both domains.
        rngs: source of the initialisation key.

    Source: EffNet section 3. `shared_encoders` is ours: on small data sets it is far ahead (docs/results.md).

    Example:
        >>> config = ModelConfig(width=8, depth=1, heads=2, image_size=32, embedding_size=4)
        >>> effnet = EffNet(config, rngs=nnx.Rngs(0))
        >>> sketches, photos = effnet(jnp.ones((2, 32, 32, 3)), jnp.ones((2, 32, 32, 3)))
        >>> sketches.embedding.shape, photos.embedding.shape
        ((2, 4), (2, 4))
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.shared = config.shared_encoders
        if config.shared_encoders:
            self.encoder = make_encoder(config, rngs=rngs)
        else:
            self.sketch_encoder = make_encoder(config, rngs=rngs)
            self.photo_encoder = make_encoder(config, rngs=rngs)

    def encode_sketches(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Encoding:
        """Encode scaled sketch images; with keys, one per row, in training mode."""
        return (self.encoder if self.shared else self.sketch_encoder)(images, keys)

    def encode_photos(self, images: Float[Array, "b h w 3"], keys: Key[Array, "b"] | None = None) -> Encoding:
        """Encode scaled photo images; with keys, one per row, in training mode."""
        return (self.encoder if self.shared else self.photo_encoder)(images, keys)

    def __call__(
        self,
        sketches: Float[Array, "b h w 3"],
        photos: Float[Array, "c h w 3"],
        sketch_keys: Key[Array, "b"] | None = None,
        photo_keys: Key[Array, "c"] | None = None,
    ) -> tuple[Encoding, Encoding]:
        """Encode both domains; a shared encoder sees them as one batch, which makes its products larger.

        So a shared encoder with batch norms also trains on the statistics of both domains together, the very ones that
        its running statistics follow.
        """
        if not self.shared:
            return self.encode_sketches(sketches, sketch_keys), self.encode_photos(photos, photo_keys)
        keys = None if sketch_keys is None or photo_keys is None else jnp.concatenate([sketch_keys, photo_keys])
        both = self.encoder(jnp.concatenate([sketches, photos]), keys)
        b = sketches.shape[0]
        return jax.tree.map(lambda x: x[:b], both), jax.tree.map(lambda x: x[b:], both)

    def encode_views(
        self,
        sketches: Sequence[Images],
        photos: Sequence[Images],
        sketch_keys: Sequence[RowKeys],
        photo_keys: Sequence[RowKeys],
    ) -> tuple[list[Encoding], list[Encoding]]:
        """Encode the views of both domains in training mode.

        All views of a domain go through its backbone as one batch. Batch norms would mix the statistics of the views,
        so with them each view is a batch of its own, the anchors first, as in the paper's code.

        Args:
            sketches: one batch of images per view.
            photos: likewise; the number of views may differ.
            sketch_keys: one key per row for each batch.
            photo_keys: likewise.
        """  # fmt: skip
        if not jax.tree.leaves(nnx.state(self, nnx.BatchStat)):
            if not self.shared:
                return (
                    _encode_together(self.sketch_encoder, sketches, sketch_keys),
                    _encode_together(self.photo_encoder, photos, photo_keys),
                )
            views = _encode_together(self.encoder, [*sketches, *photos], [*sketch_keys, *photo_keys])
            return views[: len(sketches)], views[len(sketches) :]
        of_sketches, of_photos = [], []
        sides = itertools.zip_longest(zip(sketches, sketch_keys, strict=True), zip(photos, photo_keys, strict=True))
        for sketch, photo in sides:
            if sketch and photo:
                encodings = self(sketch[0], photo[0], sketch[1], photo[1])
                of_sketches.append(encodings[0])
                of_photos.append(encodings[1])
            elif sketch:
                of_sketches.append(self.encode_sketches(*sketch))
            else:
                of_photos.append(self.encode_photos(*photo))
        return of_sketches, of_photos


def _encode_together(encoder: Encoder, views: Sequence[Images], keys: Sequence[RowKeys]) -> list[Encoding]:
    """Send all views through the backbone as one batch, and read each by itself: what no loss uses is not computed."""
    tokens = encoder.backbone(jnp.concatenate(views), jnp.concatenate(keys))
    return [encoder.read(own, k) for own, k in zip(jnp.split(tokens, len(views)), keys, strict=True)]


def make_encoder(config: ModelConfig, *, rngs: nnx.Rngs) -> Encoder:
    """Build one encoder: the preset named by `config.backbone`, with its sizes overridden where given.

    Example:
        >>> config = ModelConfig(width=8, depth=1, heads=2, image_size=32)
        >>> make_encoder(config, rngs=nnx.Rngs(0))(jnp.ones((2, 32, 32, 3))).feature.shape
        (2, 8)
    """
    backbone = build_backbone(config, rngs=rngs)
    recycling = make_recycling(config, rngs=rngs) if config.token_recycling else None
    return Encoder(
        backbone, pooling=config.pooling, embedding_size=config.embedding_size, recycling=recycling, rngs=rngs
    )


def make_recycling(config: ModelConfig, *, rngs: nnx.Rngs) -> MSTR:
    """Build the token recycling that fits the encoders of a configuration.

    Example:
        >>> recycling = make_recycling(ModelConfig(backbone="vit_tiny", recycling_hidden=8), rngs=nnx.Rngs(0))
        >>> recycling(jnp.ones((2, 197, 192)))[0].shape
        (2, 192)
    """
    return MSTR(
        preset_of(config).width,
        config.image_size // config.patch_size,
        heads=config.recycling_heads,
        hidden=config.recycling_hidden,
        as_published=config.recycling_as_published,
        dtype=jnp.dtype(config.dtype),
        rngs=rngs,
    )


class FunctionalEffNet(NamedTuple):
    """EffNet as pure functions over plain dicts of parameters and batch statistics; all of them can be jitted.

    Attributes:
        init: key -> parameters.
        init_batch_stats: -> running statistics of the batch norms, as they start; empty where there are none.
        encode_sketches: parameters, images, batch statistics where there are any -> Encoding.
        encode_photos: parameters, images, batch statistics where there are any -> Encoding.
        encode: parameters, sketches, photos, batch statistics where there are any -> both Encodings.
        encode_views: parameters, batch statistics, and what EffNet.encode_views takes -> (the Encodings of each view of
            both domains, new batch statistics), in training mode.

    Example:
        >>> model = make_functional(ModelConfig(width=8, depth=1, heads=2, image_size=32))
        >>> sorted(jax.eval_shape(model.init, jax.random.key(0)))
        ['photo_encoder', 'sketch_encoder']
        >>> model.init_batch_stats()
        {}
    """

    init: Callable[[Key[Array, ""]], Params]
    init_batch_stats: Callable[[], BatchStats]
    encode_sketches: Callable[..., Encoding]
    encode_photos: Callable[..., Encoding]
    encode: Callable[..., tuple[Encoding, Encoding]]
    encode_views: Callable[..., tuple[tuple[list[Encoding], list[Encoding]], BatchStats]]


def make_functional(config: ModelConfig) -> FunctionalEffNet:
    """Turn the module into pure functions, without allocating any parameters.

    The training loop carries plain dicts because they cost a fraction of the per-step overhead of module state.

    Args:
        config: backbone, heads, image size and dtype.

    Returns:
        Functions of nested dicts of parameters; each can be jitted, differentiated and vmapped.

    Example:
        >>> model = make_functional(ModelConfig(width=8, depth=1, heads=2, image_size=32, embedding_size=4))
        >>> params = model.init(jax.random.key(0))
        >>> jax.jit(model.encode_photos)(params, jnp.ones((2, 32, 32, 3))).embedding.shape
        (2, 4)
    """

    def build(key: Key[Array, ""]) -> EffNet:
        return EffNet(config, rngs=nnx.Rngs(params=key))

    graphdef = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))), nnx.Param, nnx.BatchStat)[0]

    def init(key: Key[Array, ""]) -> Params:
        return nnx.to_pure_dict(nnx.state(build(key), nnx.Param))

    def init_batch_stats() -> BatchStats:
        return nnx.to_pure_dict(nnx.state(build(jax.random.key(0)), nnx.BatchStat))

    def encode(params: Params, sketches: Images, photos: Images, batch_stats: BatchStats | None = None) -> Any:
        with jax.default_matmul_precision(config.precision):
            return nnx.merge(graphdef, params, batch_stats or {})(sketches, photos)

    def one_domain(name: str) -> Callable[..., Encoding]:
        def apply(params: Params, images: Images, batch_stats: BatchStats | None = None) -> Encoding:
            with jax.default_matmul_precision(config.precision):
                return getattr(nnx.merge(graphdef, params, batch_stats or {}), name)(images)

        return apply

    def encode_views(params: Params, batch_stats: BatchStats, *views: Any) -> Any:
        with jax.default_matmul_precision(config.precision):
            model = nnx.merge(graphdef, params, batch_stats)
            encodings = model.encode_views(*views)
        return encodings, nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))

    return FunctionalEffNet(
        init, init_batch_stats, one_domain("encode_sketches"), one_domain("encode_photos"), encode, encode_views
    )
