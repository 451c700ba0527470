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

from effnet_jax.config import Config
from effnet_jax.models.layers import RowDropout, dense_init
from effnet_jax.models.presets import preset_of

HEADS = 16
DROPOUT = 0.2
_HIGHEST = jax.lax.Precision.HIGHEST
_PHOTO_INTRA, _SKETCH_INTRA, _INTER_MAP, _PHOTO_INTER, _SKETCH_INTER = 0, 2, 4, 5, 6  # places of dropout; intra has two

Tokens = Float[Array, "b n d"]
Params = dict[str, Any]


class PairEncoding(NamedTuple):
    """What TRSM says about photos and the sketches beside them; leading axes are the pairs.

    Attributes:
        photo_feature: CLS row of the photo's stream.
        sketch_feature: CLS row of the sketch's stream.
        photo_embedding: the photo's head on its feature; float32.
        sketch_embedding: the sketch's head on its feature; float32.
    """

    photo_feature: Float[Array, "*pairs d"]
    sketch_feature: Float[Array, "*pairs d"]
    photo_embedding: Float[Array, "*pairs z"]
    sketch_embedding: Float[Array, "*pairs z"]


class Streams(NamedTuple):
    """All tokens of TRSM's streams, without heads."""

    photo_intra: Tokens
    sketch_intra: Tokens
    photo_inter: Tokens
    sketch_inter: Tokens
    photo: Tokens
    sketch: Tokens


class PhotoPart(NamedTuple):
    """All that a photo brings to every pair."""

    query: Float[Array, "g k e"]  # of the CLS token, scaled by e ** -0.5
    value: Float[Array, "g k n e"]
    cls: Float[Array, "g d"]
    intra: Float[Array, "g d"]  # CLS row of its attention to itself


class SketchPart(NamedTuple):
    """All that a sketch brings to every pair."""

    key: Float[Array, "s k n e"]
    value: Float[Array, "s k n e"]
    cls: Float[Array, "s d"]
    intra: Float[Array, "s d"]


class IntraAttention(nnx.Module):
    """A picture's attention to itself; photos and sketches share the weights."""

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.query, self.key, self.value, self.out = (_linear(width, width, dtype, rngs) for _ in range(4))


class InterAttention(nnx.Module):
    """One map, the photo's queries on the sketch's keys, that mixes the values of either stream."""

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.query, self.key = (_linear(width, width, dtype, rngs) for _ in range(2))
        self.photo_value, self.sketch_value = (_linear(width, width, dtype, rngs) for _ in range(2))
        self.photo_out, self.sketch_out = (_linear(width, width, dtype, rngs) for _ in range(2))


class TRSM(nnx.Module):
    """Token module of stage 2, with its two heads.

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
        self.photo_proj, self.sketch_proj = (_linear(2 * width, width, dtype, rngs) for _ in range(2))
        wide = jnp.promote_types(dtype, jnp.float32)
        self.photo_head, self.sketch_head = (_linear(width, embedding_size, wide, rngs) for _ in range(2))

    def __call__(self, photos: Tokens, sketches: Tokens, keys: Key[Array, "b"] | None = None) -> PairEncoding:
        """Encode photo i together with sketch i, computing the CLS row only.

        One query a head lets both products with the tokens go through the weights first, so that no keys and values of
        all tokens are needed: 2 n k d multiply-adds a map instead of 2 n d d, and the same numbers.

        Args:
            photos: final-norm tokens, CLS first.
            sketches: likewise.
            keys: one a pair, for dropout; None at test.
        """
        module, draw = self.inter, RowDropout(self.dropout, keys)
        photo_cls, sketch_cls = photos[:, 0], sketches[:, 0]
        weights = draw(
            self._row_map(module.query, module.key, photo_cls, sketches), _INTER_MAP
        )  # one mask for both streams
        y = self._row_mix(module.photo_value, weights, photos) + photo_cls
        photo_inter = draw(module.photo_out(y), _PHOTO_INTER) + y + photo_cls
        y = self._row_mix(module.sketch_value, weights, sketches) + sketch_cls
        sketch_inter = draw(module.sketch_out(y), _SKETCH_INTER) + y + sketch_cls
        photo_intra = self.intra_row(photos, keys, _PHOTO_INTRA)
        sketch_intra = self.intra_row(sketches, keys, _SKETCH_INTRA)
        return self._encode(photo_intra, photo_inter, sketch_intra, sketch_inter)

    def streams(self, photos: Tokens, sketches: Tokens) -> Streams:
        """Compute all tokens of every stream, as the paper's module does; its CLS rows are those of `__call__`."""
        intra, inter = self.intra, self.inter

        def alone(x: Tokens) -> Tokens:
            y = self._mix(self._map(intra.query(x), intra.key(x)), intra.value(x)) + x
            return intra.out(y) + y + x

        weights = self._map(inter.query(photos), inter.key(sketches))  # (b, k, n, n)
        y = self._mix(weights, inter.photo_value(photos)) + photos
        photo_inter = inter.photo_out(y) + y + photos
        y = self._mix(weights, inter.sketch_value(sketches)) + sketches
        sketch_inter = inter.sketch_out(y) + y + sketches
        photo_intra, sketch_intra = alone(photos), alone(sketches)
        return Streams(
            photo_intra,
            sketch_intra,
            photo_inter,
            sketch_inter,
            self.photo_proj(jnp.concatenate([photo_intra, photo_inter], axis=-1)),
            self.sketch_proj(jnp.concatenate([sketch_intra, sketch_inter], axis=-1)),
        )

    def intra_row(self, x: Tokens, keys: Key[Array, "b"] | None, place: int) -> Float[Array, "b d"]:
        """CLS row of the self-attention, its residual, and a linear layer with two residuals."""
        module, cls, draw = self.intra, x[:, 0], RowDropout(self.dropout, keys)
        weights = draw(self._row_map(module.query, module.key, cls, x), place)
        y = self._row_mix(module.value, weights, x) + cls
        return draw(module.out(y), place + 1) + y + cls

    def photo_part(self, tokens: Float[Array, "g n d"], keys: Key[Array, "g"] | None = None) -> PhotoPart:
        """Compute what a photo brings to every pair."""
        return PhotoPart(
            query=self._row_query(self.inter.query, tokens[:, 0]),
            value=self._heads(self.inter.photo_value(tokens)),
            cls=tokens[:, 0],
            intra=self.intra_row(tokens, keys, _PHOTO_INTRA),
        )

    def sketch_part(self, tokens: Float[Array, "s n d"], keys: Key[Array, "s"] | None = None) -> SketchPart:
        """Compute what a sketch brings to every pair."""
        return SketchPart(
            key=self._heads(self.inter.key(tokens)),
            value=self._heads(self.inter.sketch_value(tokens)),
            cls=tokens[:, 0],
            intra=self.intra_row(tokens, keys, _SKETCH_INTRA),
        )

    def all_pairs(self, photos: PhotoPart, sketches: SketchPart, keys: Key[Array, "s g"] | None = None) -> PairEncoding:
        """Encode every sketch with every photo: axes (s, g, ...). For training; retrieval has a shorter way."""
        draw = RowDropout(self.dropout, keys)
        weights = draw(rearrange(pair_map(photos.query, sketches.key), "k g s n -> s g k n"), _INTER_MAP)
        join = "s g k e -> s g (k e)"
        y = rearrange(jnp.einsum("sgkn,gkne->sgke", weights, photos.value), join) + photos.cls
        photo_inter = draw(self.inter.photo_out(y), _PHOTO_INTER) + y + photos.cls
        sketch_cls = sketches.cls[:, None]
        y = rearrange(jnp.einsum("sgkn,skne->sgke", weights, sketches.value), join) + sketch_cls
        sketch_inter = draw(self.inter.sketch_out(y), _SKETCH_INTER) + y + sketch_cls
        return self._encode(
            jnp.broadcast_to(photos.intra, photo_inter.shape),
            photo_inter,
            jnp.broadcast_to(sketches.intra[:, None], sketch_inter.shape),
            sketch_inter,
        )

    def _encode(
        self,
        photo_intra: Float[Array, "*pairs d"],
        photo_inter: Float[Array, "*pairs d"],
        sketch_intra: Float[Array, "*pairs d"],
        sketch_inter: Float[Array, "*pairs d"],
    ) -> PairEncoding:
        photo = self.photo_proj(jnp.concatenate([photo_intra, photo_inter], axis=-1))
        sketch = self.sketch_proj(jnp.concatenate([sketch_intra, sketch_inter], axis=-1))
        return PairEncoding(photo, sketch, self.photo_head(photo), self.sketch_head(sketch))

    def _row_query(self, query: nnx.Linear, cls: Float[Array, "b d"]) -> Float[Array, "b k e"]:
        heads = rearrange(query(cls), "b (k e) -> b k e", k=self.heads)
        return heads * heads.shape[-1] ** -0.5

    def _row_map(
        self, query: nnx.Linear, key: nnx.Linear, cls: Float[Array, "b d"], x: Tokens
    ) -> Float[Array, "b k n"]:
        """Softmax of one query a head over all tokens; the keys' bias adds the same to all of them and drops out."""
        folded = jnp.einsum("bke,dke->bkd", self._row_query(query, cls), self._kernel(key, x))
        logits = jnp.einsum("bkd,bnd->bkn", folded, x, preferred_element_type=wide_dtype(x))
        return jax.nn.softmax(logits, axis=-1).astype(x.dtype)

    def _row_mix(self, value: nnx.Linear, weights: Float[Array, "b k n"], x: Tokens) -> Float[Array, "b d"]:
        """Mix the tokens, then take their values; the bias counts with the weights' sum, not one under dropout."""
        mixed = jnp.einsum("bkn,bnd->bkd", weights, x)
        bias = rearrange(_bias(value).astype(x.dtype), "(k e) -> k e", k=self.heads)
        share = jnp.sum(weights, axis=-1)[..., None]  # (b, k, 1)
        values = jnp.einsum("bkd,dke->bke", mixed, self._kernel(value, x)) + share * bias
        return rearrange(values, "b k e -> b (k e)")

    def _kernel(self, layer: nnx.Linear, x: Tokens) -> Float[Array, "d k e"]:
        return rearrange(layer.kernel[...].astype(x.dtype), "d (k e) -> d k e", k=self.heads)

    def _heads(self, x: Float[Array, "b n d"]) -> Float[Array, "b k n e"]:
        return rearrange(x, "b n (k e) -> b k n e", k=self.heads)

    def _map(self, query: Tokens, key: Tokens) -> Float[Array, "b k n n"]:
        query, key = self._heads(query), self._heads(key)
        logits = jnp.einsum(
            "bkme,bkne->bkmn", query * query.shape[-1] ** -0.5, key, preferred_element_type=wide_dtype(key)
        )
        return jax.nn.softmax(logits, axis=-1).astype(key.dtype)

    def _mix(self, weights: Float[Array, "b k n n"], value: Tokens) -> Tokens:
        return rearrange(jnp.einsum("bkmn,bkne->bkme", weights, self._heads(value)), "b k m e -> b m (k e)")


def pair_map(query: Float[Array, "g k e"], key: Float[Array, "s k n e"]) -> Float[Array, "k g s n"]:
    """CLS row of the attention of every photo to every sketch; one large product a head."""
    s = key.shape[0]
    flat = jnp.einsum(
        "gke,kme->kgm",
        query,
        rearrange(key, "s k n e -> k (s n) e"),
        precision=_HIGHEST,
        preferred_element_type=wide_dtype(key),
    )
    return jax.nn.softmax(rearrange(flat, "k g (s n) -> k g s n", s=s), axis=-1).astype(key.dtype)


def _linear(inputs: int, outputs: int, dtype: DTypeLike, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(inputs, outputs, kernel_init=dense_init, dtype=dtype, rngs=rngs)


def _bias(layer: nnx.Linear) -> Float[Array, " f"]:
    return jnp.zeros(layer.out_features) if layer.bias is None else layer.bias[...]


def wide_dtype(x: Float[Array, "..."]) -> DTypeLike:
    """The dtype of sums: at least float32."""
    return jnp.promote_types(x.dtype, jnp.float32)


class FunctionalTRSM(NamedTuple):
    """TRSM as pure functions over a plain dict of parameters; all of them can be jitted.

    Attributes:
        init: key -> parameters.
        call: (function of a TRSM and arrays) -> the same function of parameters and arrays.
    """

    init: Callable[[Key[Array, ""]], Params]
    call: Callable[[Callable[..., Any]], Callable[..., Any]]


def make_functional_trsm(config: Config) -> FunctionalTRSM:
    """Turn the module that fits a configuration's encoders into pure functions, without allocating any parameters."""

    def build(key: Key[Array, ""]) -> TRSM:
        return TRSM(
            preset_of(config.model).width,
            heads=config.trsm.heads,
            dropout=config.trsm.dropout,
            embedding_size=config.model.embedding_size,
            dtype=jnp.dtype(config.model.dtype),
            rngs=nnx.Rngs(params=key),
        )

    graphdef = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))[0]

    def init(key: Key[Array, ""]) -> Params:
        return nnx.to_pure_dict(nnx.state(build(key), nnx.Param))

    def call(function: Callable[..., Any]) -> Callable[..., Any]:
        def apply(params: Params, *arguments: Any) -> Any:
            with jax.default_matmul_precision(config.model.precision):
                return function(nnx.merge(graphdef, params), *arguments)

        return apply

    return FunctionalTRSM(init, call)
