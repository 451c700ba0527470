"""TRSM as an exact scorer of pairs: every sketch with every photo, or with a shortlist, in blocks of bounded memory.

score(s, p) = cosine of the two embeddings that TRSM gives the pair. Everything behind its attention (a linear layer,
residuals, projection, head) is affine in what the attention mixes, so it folds into one matrix per domain and a
constant per picture. A pair then costs 3 n d + 2 d z multiply-adds, about 1/1800 of the plain module, and gives the
same number; the pictures' own part costs 3 n d d for a photo and a sketch together, once.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from effnet_jax.models.trsm import TRSM, FunctionalTRSM
from effnet_jax.models.trsm_attention import pair_map, wide_dtype
from effnet_jax.runtime.sharding import batch_sharded, replicated
from effnet_jax.stages.block_scorer import BlockScorer, ScorePrograms

Params = dict[str, Any]
PRODUCT_FLOOR = 1e-12  # of the product of two embeddings' norms
_HIGHEST = jax.lax.Precision.HIGHEST


class FoldedPhotos(NamedTuple):
    """Photos ready to be scored."""

    query: Float[Array, "g k e"]
    value: Float[Array, "g k n e"]
    constant: Float[Array, "g z"]


class FoldedSketches(NamedTuple):
    """Sketches ready to be scored."""

    key: Float[Array, "s k n e"]
    value: Float[Array, "s k n e"]
    constant: Float[Array, "s z"]


class Matrices(NamedTuple):
    """What everything behind the attention does to the mixed values, for either stream."""

    photo: Float[Array, "d z"]
    sketch: Float[Array, "d z"]


def fold_photos(trsm: TRSM, tokens: Float[Array, "g n d"]) -> FoldedPhotos:
    """Compute a photo's own part and fold what lies behind the attention into its constant. Holds without dropout."""
    part = trsm.photo_part(tokens)
    constant = _behind(trsm.inter.photo_out, trsm.photo_proj, trsm.photo_head, part.cls, part.intra)
    return FoldedPhotos(part.query, part.value, constant)


def fold_sketches(trsm: TRSM, tokens: Float[Array, "s n d"]) -> FoldedSketches:
    """Likewise for sketches."""
    part = trsm.sketch_part(tokens)
    constant = _behind(trsm.inter.sketch_out, trsm.sketch_proj, trsm.sketch_head, part.cls, part.intra)
    return FoldedSketches(part.key, part.value, constant)


def fold_matrices(trsm: TRSM) -> Matrices:
    """Fold linear layer, residual, the second half of the projection and the head: (W + I) P[d:] Wh."""

    def fold(out: nnx.Linear, proj: nnx.Linear, head: nnx.Linear) -> Float[Array, "d z"]:
        wide = wide_dtype(jnp.zeros((), out.dtype))
        out_kernel, proj_kernel, head_kernel = (layer.kernel[...].astype(wide) for layer in (out, proj, head))
        behind = _dot(proj_kernel[out_kernel.shape[0] :], head_kernel)
        return _dot(out_kernel, behind) + behind

    return Matrices(
        fold(trsm.inter.photo_out, trsm.photo_proj, trsm.photo_head),
        fold(trsm.inter.sketch_out, trsm.sketch_proj, trsm.sketch_head),
    )


def pair_scores(photos: FoldedPhotos, sketches: FoldedSketches, matrices: Matrices) -> Float[Array, "s g"]:
    """Score every sketch of a block with every photo of a block; no score depends on what else is in the blocks.

    Returns:
        Cosines in [-1, 1], float32 (float64 for float64 parts). A pair with a zero embedding scores 0.
    """
    weights = pair_map(photos.query, sketches.key)  # (k, g, s, n)
    photo = jnp.einsum("kgsn,gkne->gske", weights, photos.value, precision=_HIGHEST)
    sketch = jnp.einsum("kgsn,skne->sgke", weights, sketches.value, precision=_HIGHEST)
    photo = _affine(photo, matrices.photo) + photos.constant[:, None]  # (g, s, z)
    sketch = _affine(sketch, matrices.sketch) + sketches.constant[:, None]  # (s, g, z)
    photo = rearrange(photo, "g s z -> s g z")
    squared = jnp.sum(photo * photo, axis=-1) * jnp.sum(sketch * sketch, axis=-1)
    return jnp.sum(photo * sketch, axis=-1) * jax.lax.rsqrt(jnp.maximum(squared, PRODUCT_FLOOR**2))


class PairScorer(BlockScorer):
    """Scores sketches with photos by TRSM, in blocks.

    Memory: the folded parts of a group of sketches and of one block of photos on the device: 2 n d numbers per sketch,
    n d per photo.

    Args:
        trsm: pure functions of TRSM.
        params: its parameters.
        mesh: devices.
        blocks: sizes, as of BlockScorer.
    """

    def __init__(self, trsm: FunctionalTRSM, params: Params, mesh: Mesh, **blocks: int):
        run = _programs(trsm, mesh)
        matrices = run.fold_matrices(params)
        programs = ScorePrograms(
            fold_photos=partial(run.fold_photos, params),
            fold_sketches=partial(run.fold_sketches, params),
            score=lambda photos, sketches: run.score(photos, sketches, matrices),
            score_some=lambda gallery, rows, sketches: run.score_some(gallery, rows, sketches, matrices),
        )
        super().__init__(programs, mesh, **blocks)


class _Programs(NamedTuple):
    """What a PairScorer runs, to be compiled once for all parameters."""

    fold_photos: Callable[..., FoldedPhotos]
    fold_sketches: Callable[..., FoldedSketches]
    fold_matrices: Callable[..., Matrices]
    score: Callable[..., Float[Array, "s g"]]
    score_some: Callable[..., Float[Array, "s m"]]


@lru_cache(maxsize=4)  # a run scores with new parameters at every evaluation
def _programs(trsm: FunctionalTRSM, mesh: Mesh) -> _Programs:
    whole, rows = replicated(mesh), batch_sharded(mesh)

    def score_some(gallery: FoldedPhotos, rows: Int[Array, " m"], *rest: Any) -> Float[Array, "s m"]:
        return pair_scores(jax.tree.map(lambda x: x[rows], gallery), *rest)

    return _Programs(
        fold_photos=jax.jit(trsm.call(fold_photos), in_shardings=(whole, rows), out_shardings=rows),
        fold_sketches=jax.jit(trsm.call(fold_sketches), in_shardings=(whole, whole), out_shardings=whole),
        fold_matrices=jax.jit(trsm.call(fold_matrices), out_shardings=whole),
        score=jax.jit(pair_scores, out_shardings=whole),
        score_some=jax.jit(score_some, out_shardings=whole),
    )


def _behind(
    out: nnx.Linear, proj: nnx.Linear, head: nnx.Linear, cls: Float[Array, "b d"], intra: Float[Array, "b d"]
) -> Float[Array, "b z"]:
    """The embedding of a picture to which the attention adds nothing: the constant of its affine map."""
    inter = out(cls) + cls + cls
    return head(proj(jnp.concatenate([intra, inter], axis=-1))).astype(wide_dtype(cls))


def _affine(mixed: Float[Array, "a b k e"], matrix: Float[Array, "d z"]) -> Float[Array, "a b z"]:
    """One large product over all pairs, summed in the matrix's dtype."""
    flat = rearrange(mixed.astype(matrix.dtype), "a b k e -> (a b) (k e)")
    return rearrange(_dot(flat, matrix), "(a b) z -> a b z", a=mixed.shape[0])


_dot = partial(jnp.matmul, precision=_HIGHEST)
