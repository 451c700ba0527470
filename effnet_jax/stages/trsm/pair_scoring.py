"""TRSM as an exact scorer of pairs: every sketch with every photo, or with a shortlist, in blocks of bounded memory.

score(s, p) = cosine of the two embeddings that TRSM gives the pair. Everything behind its attention (a linear layer,
residuals, projection, head) is affine in what the attention mixes, so it folds into one matrix per domain and a
constant per picture. A pair then costs 3 n d + 2 d z multiply-adds, about 1/1800 of the plain module, and gives the
same number; the pictures' own part costs 3 n d d for a photo and a sketch together, once.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int

from effnet_jax.models.trsm import TRSM, FunctionalTRSM
from effnet_jax.models.trsm_attention import pair_map, wide_dtype
from effnet_jax.runtime.hosts import all_hosts
from effnet_jax.runtime.memory import free_memory
from effnet_jax.runtime.progress import track
from effnet_jax.runtime.sharding import batch_sharded, put_rows, replicated

Params = dict[str, Any]
PRODUCT_FLOOR = 1e-12  # of the product of two embeddings' norms
PHOTO_BLOCK = 64  # photos scored at a time
SKETCH_BLOCK = 32  # sketches scored at a time
SKETCH_GROUP = 512  # sketches whose folded parts stay on the device while the gallery passes once
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


@runtime_checkable
class TokenRows(Protocol):
    """Tokens of pictures, held in memory or computed when asked for."""

    def __len__(self) -> int:
        """Count the pictures."""
        ...

    def __getitem__(self, rows: slice | Int[np.ndarray, " b"], /) -> Float[np.ndarray, "b n d"]:
        """Give the tokens of some pictures."""
        ...


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


class PairScorer:
    """Scores sketches with photos by blocks, compiled and sharded over the photos of a block.

    Memory: the folded parts of `sketch_group` sketches and one block of photos on the device (2 n d numbers per sketch,
    n d per photo), and `sketch_group` rows of scores on the host, whatever the size of the gallery.

    Args:
        trsm: pure functions of TRSM.
        params: its parameters.
        mesh: devices.
        photo_block: photos at a time; rounded up to a multiple of the devices.
        sketch_block: sketches at a time.
        sketch_group: sketches that pass over the gallery together; each group computes the photos' part anew.
    """

    def __init__(
        self,
        trsm: FunctionalTRSM,
        params: Params,
        mesh: Mesh,
        *,
        photo_block: int = PHOTO_BLOCK,
        sketch_block: int = SKETCH_BLOCK,
        sketch_group: int = SKETCH_GROUP,
    ):
        if min(photo_block, sketch_block, sketch_group) < 1:
            raise ValueError(f"blocks must be >= 1: {photo_block=}, {sketch_block=}, {sketch_group=}.")
        self._params = params
        self._mesh = mesh
        self._photo_block = -(-photo_block // mesh.size) * mesh.size
        self._sketch_block = min(sketch_block, sketch_group)
        self._group = sketch_group // self._sketch_block * self._sketch_block
        self._run = _programs(trsm, mesh)
        self._matrices = self._run.fold_matrices(params)

    def all_pairs(self, sketches: TokenRows, photos: TokenRows) -> Iterator[tuple[slice, Float32[np.ndarray, "b g"]]]:
        """Yield rows of scores: a slice of the sketches, and their scores with the whole gallery.

        Args:
            sketches: tokens of the sketches.
            photos: tokens of the gallery.
        """
        for start in range(0, len(sketches), self._group):
            stop = min(start + self._group, len(sketches))
            folded = [self._sketches(sketches, i) for i in range(start, stop, self._sketch_block)]
            scores = np.empty((len(folded) * self._sketch_block, len(photos)), np.float32)
            blocks = range(0, len(photos), self._photo_block)
            for j in track(blocks, total=len(blocks), description="scoring pairs"):
                real = min(self._photo_block, len(photos) - j)
                block = self._photos(photos[j : j + real])
                waiting = [self._run.score(block, part, self._matrices) for part in folded]
                for i, part in enumerate(waiting):
                    rows = slice(i * self._sketch_block, (i + 1) * self._sketch_block)
                    scores[rows, j : j + real] = np.asarray(part)[:, :real]
            yield slice(start, stop), scores[: stop - start]

    def shortlist(
        self, sketches: TokenRows, photos: TokenRows, chosen: Int[np.ndarray, "s m"]
    ) -> Float32[np.ndarray, "s m"]:
        """Score each sketch with the photos chosen for it only.

        Args:
            sketches: tokens of the sketches.
            photos: tokens of the gallery.
            chosen: rows of the gallery for each sketch.
        """
        unique, places = np.unique(chosen, return_inverse=True)
        places = places.reshape(chosen.shape)
        gallery = self._gallery(photos, unique) if self._fits(photos, len(unique)) else None
        scores = np.empty(chosen.shape, np.float32)
        for i in track(range(len(sketches)), total=len(sketches), description="scoring shortlists"):
            part = self._run.fold_sketches(self._params, np.asarray(sketches[i : i + 1]))
            if gallery is not None:
                scores[i] = np.asarray(self._run.score_some(gallery, places[i], part, self._matrices))[0]
                continue
            for j in range(0, chosen.shape[1], self._photo_block):
                rows = chosen[i, j : j + self._photo_block]
                block = self._run.score(self._photos(photos[rows]), part, self._matrices)
                scores[i, j : j + len(rows)] = np.asarray(block)[0, : len(rows)]
        return scores

    def _fits(self, photos: TokenRows, count: int) -> bool:
        """Tell whether the folded parts of so many photos take less than a quarter of what the device has free."""
        stats = jax.local_devices()[0].memory_stats() or {}
        free = stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else free_memory()
        return all_hosts(count * np.asarray(photos[0:1]).nbytes < free // 4)

    def _gallery(self, photos: TokenRows, rows: Int[np.ndarray, " u"]) -> FoldedPhotos:
        """Fold many photos and keep them."""
        parts = []
        for j in range(0, len(rows), self._photo_block):
            some = rows[j : j + self._photo_block]
            folded = self._photos(photos[some])
            parts.append([x[: len(some)] for x in folded])
        return FoldedPhotos(*(jnp.concatenate(part) for part in zip(*parts, strict=True)))

    def _photos(self, tokens: Float[np.ndarray, "b n d"]) -> FoldedPhotos:
        return self._run.fold_photos(self._params, put_rows(_fill(tokens, self._photo_block), self._mesh))

    def _sketches(self, sketches: TokenRows, start: int) -> FoldedSketches:
        tokens = sketches[start : min(start + self._sketch_block, len(sketches))]
        return self._run.fold_sketches(self._params, _fill(tokens, self._sketch_block))


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


def _fill(tokens: Float[np.ndarray, "b n d"], size: int) -> Float[np.ndarray, "c n d"]:
    """Repeat the last picture up to the size of a block, so that one compiled function serves all blocks."""
    return np.pad(tokens, ((0, size - len(tokens)), (0, 0), (0, 0)), mode="edge")


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
