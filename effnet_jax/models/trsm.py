"""TRSM: what a photo and a sketch say about each other, token by token.

`TRSM.streams` is the paper's module, all tokens of it. Only the CLS rows are ever used: `TRSM.__call__` computes them
alone. What depends on one picture alone can be computed once (`photo_part`, `sketch_part`) and joined for every pair
(`all_pairs`); stages/trsm/pair_scoring.py goes the rest of that way, to an exact and cheap score of every pair.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from effnet_jax.config import ModelConfig, TrsmConfig
from effnet_jax.models.layers import RowDropout, linear
from effnet_jax.models.presets import preset_of
from effnet_jax.models.trsm_attention import (
    InterAttention,
    IntraAttention,
    Tokens,
    full_map,
    full_mix,
    pair_map,
    row_map,
    row_mix,
    row_query,
    split_heads,
)

HEADS = 16
DROPOUT = 0.2
_PHOTO_INTRA, _SKETCH_INTRA, _INTER_MAP, _PHOTO_INTER, _SKETCH_INTER = 0, 2, 4, 5, 6  # places of dropout; intra has two
_NO_DROPOUT = RowDropout(0.0, None)

Params = dict[str, Any]


class PairEncoding(NamedTuple):
    """What TRSM says about photos and the sketches beside them; leading axes are the pairs.

    Attributes:
        photo_feature: CLS row of the photo's stream.
        sketch_feature: CLS row of the sketch's stream.
        photo_embedding: the photo's head on its feature; float32.
        sketch_embedding: the sketch's head on its feature; float32.

    Example:
        >>> trsm = TRSM(8, heads=2, embedding_size=4, rngs=nnx.Rngs(0))
        >>> [x.shape for x in trsm(jnp.ones((3, 5, 8)), jnp.ones((3, 5, 8)))]
        [(3, 8), (3, 8), (3, 4), (3, 4)]
    """

    photo_feature: Float[Array, "*pairs d"]
    sketch_feature: Float[Array, "*pairs d"]
    photo_embedding: Float[Array, "*pairs z"]
    sketch_embedding: Float[Array, "*pairs z"]


class Streams(NamedTuple):
    """All tokens of TRSM's streams, without heads.

    Example:
        >>> trsm = TRSM(8, heads=2, rngs=nnx.Rngs(0))
        >>> trsm.streams(jnp.ones((3, 5, 8)), jnp.ones((3, 5, 8))).photo.shape
        (3, 5, 8)
    """

    photo_intra: Tokens
    sketch_intra: Tokens
    photo_inter: Tokens
    sketch_inter: Tokens
    photo: Tokens
    sketch: Tokens


class PhotoPart(NamedTuple):
    """All that a photo brings to every pair.

    Example:
        >>> TRSM(8, heads=2, rngs=nnx.Rngs(0)).photo_part(jnp.ones((3, 5, 8))).value.shape
        (3, 2, 5, 4)
    """

    query: Float[Array, "g k e"]  # of the CLS token, scaled by e ** -0.5
    value: Float[Array, "g k n e"]
    cls: Float[Array, "g d"]
    intra: Float[Array, "g d"]  # CLS row of its attention to itself


class SketchPart(NamedTuple):
    """All that a sketch brings to every pair.

    Example:
        >>> TRSM(8, heads=2, rngs=nnx.Rngs(0)).sketch_part(jnp.ones((3, 5, 8))).key.shape
        (3, 2, 5, 4)
    """

    key: Float[Array, "s k n e"]
    value: Float[Array, "s k n e"]
    cls: Float[Array, "s d"]
    intra: Float[Array, "s d"]


class TRSM(nnx.Module):
    """Token module of stage 2, with its two heads: a photo's tokens and a sketch's tokens in, an embedding of each out.

    The embedding of a picture depends on the other picture of the pair, so a photo cannot be indexed by it: what counts
    is the cosine of the two embeddings, as the score of the pair.

    Args:
        width: token width d of the encoders.
        heads: attention heads k; must divide the width.
        dropout: share dropped of the attention maps and after the linear layers, where a key is given.
        embedding_size: width z of the two embeddings.
        dtype: compute dtype; parameters are float32.
        rngs: source of the initialisation key.

    Raises:
        ValueError: heads do not divide the width, or an impossible dropout.

    Source: EffNet, stage 2. Its second, never used set of intra weights is left out.

    Example:
        >>> trsm = TRSM(8, heads=2, embedding_size=4, rngs=nnx.Rngs(0))
        >>> photos, sketches = jnp.ones((3, 5, 8)), jnp.ones((3, 5, 8))
        >>> trsm(photos, sketches).photo_embedding.shape
        (3, 4)
        >>> trsm.all_pairs(trsm.photo_part(photos), trsm.sketch_part(sketches[:2])).photo_embedding.shape
        (2, 3, 4)
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = HEADS,
        dropout: float = DROPOUT,
        embedding_size: int = 512,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if width % heads:
            raise ValueError(f"TRSM: width {width} is not a multiple of {heads} heads; change trsm.heads.")
        if not 0 <= dropout < 1:
            raise ValueError(f"TRSM: dropout={dropout} must lie in [0, 1).")
        self.heads = heads
        self.dropout = dropout
        self.intra = IntraAttention(width, dtype=dtype, rngs=rngs)
        self.inter = InterAttention(width, dtype=dtype, rngs=rngs)
        self.photo_proj, self.sketch_proj = (linear(2 * width, width, dtype, rngs) for _ in range(2))
        wide = jnp.promote_types(dtype, jnp.float32)
        self.photo_head, self.sketch_head = (linear(width, embedding_size, wide, rngs) for _ in range(2))

    def __call__(self, photos: Tokens, sketches: Tokens, keys: Key[Array, "b"] | None = None) -> PairEncoding:
        """Encode photo i together with sketch i, computing the CLS row only.

        Args:
            photos: final-norm tokens, CLS first.
            sketches: likewise.
            keys: one per pair, for dropout; None at test.
        """
        module, draw = self.inter, RowDropout(self.dropout, keys)
        photo_cls, sketch_cls = photos[:, 0], sketches[:, 0]
        weights = row_map(module.query, module.key, photo_cls, sketches, self.heads)
        weights = draw(weights, _INTER_MAP)  # one mask for both streams
        photo_mixed = row_mix(module.photo_value, weights, photos)
        sketch_mixed = row_mix(module.sketch_value, weights, sketches)
        return self._encode(
            self.intra_row(photos, keys, _PHOTO_INTRA),
            _residuals(module.photo_out, photo_mixed, photo_cls, draw, _PHOTO_INTER),
            self.intra_row(sketches, keys, _SKETCH_INTRA),
            _residuals(module.sketch_out, sketch_mixed, sketch_cls, draw, _SKETCH_INTER),
        )

    def streams(self, photos: Tokens, sketches: Tokens) -> Streams:
        """Compute all tokens of every stream, as the paper's module does; its CLS rows are those of `__call__`."""
        intra, inter = self.intra, self.inter

        def alone(x: Tokens) -> Tokens:
            mixed = full_mix(full_map(intra.query(x), intra.key(x), self.heads), intra.value(x))
            return _residuals(intra.out, mixed, x)

        weights = full_map(inter.query(photos), inter.key(sketches), self.heads)  # (b, k, n, n)
        photo_inter = _residuals(inter.photo_out, full_mix(weights, inter.photo_value(photos)), photos)
        sketch_inter = _residuals(inter.sketch_out, full_mix(weights, inter.sketch_value(sketches)), sketches)
        photo_intra, sketch_intra = alone(photos), alone(sketches)
        photo, sketch = self._project(photo_intra, photo_inter, sketch_intra, sketch_inter)
        return Streams(photo_intra, sketch_intra, photo_inter, sketch_inter, photo, sketch)

    def intra_row(self, x: Tokens, keys: Key[Array, "b"] | None, place: int) -> Float[Array, "b d"]:
        """CLS row of the self-attention, its residual, and a linear layer with two residuals."""
        module, cls, draw = self.intra, x[:, 0], RowDropout(self.dropout, keys)
        weights = draw(row_map(module.query, module.key, cls, x, self.heads), place)
        return _residuals(module.out, row_mix(module.value, weights, x), cls, draw, place + 1)

    def photo_part(self, tokens: Float[Array, "g n d"], keys: Key[Array, "g"] | None = None) -> PhotoPart:
        """Compute what a photo brings to every pair."""
        return PhotoPart(
            query=row_query(self.inter.query, tokens[:, 0], self.heads),
            value=split_heads(self.inter.photo_value(tokens), self.heads),
            cls=tokens[:, 0],
            intra=self.intra_row(tokens, keys, _PHOTO_INTRA),
        )

    def sketch_part(self, tokens: Float[Array, "s n d"], keys: Key[Array, "s"] | None = None) -> SketchPart:
        """Compute what a sketch brings to every pair."""
        return SketchPart(
            key=split_heads(self.inter.key(tokens), self.heads),
            value=split_heads(self.inter.sketch_value(tokens), self.heads),
            cls=tokens[:, 0],
            intra=self.intra_row(tokens, keys, _SKETCH_INTRA),
        )

    def all_pairs(self, photos: PhotoPart, sketches: SketchPart, keys: Key[Array, "s g"] | None = None) -> PairEncoding:
        """Encode every sketch with every photo: axes (s, g, ...). For training; retrieval has a shorter way."""
        module, draw = self.inter, RowDropout(self.dropout, keys)
        weights = draw(rearrange(pair_map(photos.query, sketches.key), "k g s n -> s g k n"), _INTER_MAP)
        join, sketch_cls = "s g k e -> s g (k e)", sketches.cls[:, None]
        photo_mixed = rearrange(jnp.einsum("sgkn,gkne->sgke", weights, photos.value), join)
        sketch_mixed = rearrange(jnp.einsum("sgkn,skne->sgke", weights, sketches.value), join)
        return self._encode(
            jnp.broadcast_to(photos.intra, photo_mixed.shape),
            _residuals(module.photo_out, photo_mixed, photos.cls, draw, _PHOTO_INTER),
            jnp.broadcast_to(sketches.intra[:, None], sketch_mixed.shape),
            _residuals(module.sketch_out, sketch_mixed, sketch_cls, draw, _SKETCH_INTER),
        )

    def _encode(self, *streams: Float[Array, "*pairs d"]) -> PairEncoding:
        photo, sketch = self._project(*streams)
        return PairEncoding(photo, sketch, self.photo_head(photo), self.sketch_head(sketch))

    def _project(
        self,
        photo_intra: Float[Array, "*pairs d"],
        photo_inter: Float[Array, "*pairs d"],
        sketch_intra: Float[Array, "*pairs d"],
        sketch_inter: Float[Array, "*pairs d"],
    ) -> tuple[Float[Array, "*pairs d"], Float[Array, "*pairs d"]]:
        photo = self.photo_proj(jnp.concatenate([photo_intra, photo_inter], axis=-1))
        return photo, self.sketch_proj(jnp.concatenate([sketch_intra, sketch_inter], axis=-1))


def _residuals(
    out: nnx.Linear,
    mixed: Float[Array, "*pairs d"],
    x: Float[Array, "*#pairs d"],
    draw: RowDropout = _NO_DROPOUT,
    place: int = 0,
) -> Float[Array, "*pairs d"]:
    """Residual, then a linear layer with dropout and two residuals."""
    y = mixed + x
    return draw(out(y), place) + y + x


class FunctionalTRSM(NamedTuple):
    """TRSM as pure functions over a plain dict of parameters; all of them can be jitted.

    Attributes:
        init: key -> parameters.
        call: (function of a TRSM and arrays) -> the same function of parameters and arrays.

    Example:
        >>> trsm = make_functional_trsm(ModelConfig(width=8, embedding_size=4), TrsmConfig(heads=2))
        >>> jax.eval_shape(trsm.init, jax.random.key(0))["photo_head"]["kernel"].shape
        (8, 4)
    """

    init: Callable[[Key[Array, ""]], Params]
    call: Callable[[Callable[..., Any]], Callable[..., Any]]


def make_functional_trsm(model: ModelConfig, trsm: TrsmConfig) -> FunctionalTRSM:
    """Turn the module that fits the encoders into pure functions, without allocating any parameters.

    Args:
        model: of the encoders, ViTs: their token width, the embedding's width, compute dtype and precision.
        trsm: heads and dropout; the other fields say how it is trained.

    Returns:
        Functions of nested dicts of parameters; each can be jitted, differentiated and vmapped.

    Example:
        >>> trsm = make_functional_trsm(ModelConfig(width=8, embedding_size=4), TrsmConfig(heads=2))
        >>> params = trsm.init(jax.random.key(0))
        >>> encode_pairs = trsm.call(TRSM.__call__)
        >>> encode_pairs(params, jnp.ones((3, 5, 8)), jnp.ones((3, 5, 8))).sketch_embedding.shape
        (3, 4)
    """

    def build(key: Key[Array, ""]) -> TRSM:
        return TRSM(
            preset_of(model).width,
            heads=trsm.heads,
            dropout=trsm.dropout,
            embedding_size=model.embedding_size,
            dtype=jnp.dtype(model.dtype),
            rngs=nnx.Rngs(params=key),
        )

    graphdef = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))[0]

    def init(key: Key[Array, ""]) -> Params:
        return nnx.to_pure_dict(nnx.state(build(key), nnx.Param))

    def call(function: Callable[..., Any]) -> Callable[..., Any]:
        def apply(params: Params, *arguments: Any) -> Any:
            with jax.default_matmul_precision(model.precision):
                return function(nnx.merge(graphdef, params), *arguments)

        return apply

    return FunctionalTRSM(init, call)
