"""Late interaction as a scorer of pairs: patch tokens of both pictures, in blocks on any mesh."""

from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int, UInt8

from effnet_jax.config import LateConfig, ModelConfig
from effnet_jax.data.cache import ImageRows
from effnet_jax.encoders.tokens import TokenRows
from effnet_jax.retrieval.late_interaction import inked_patches, late_scores, near, unit_patches
from effnet_jax.runtime.sharding import batch_sharded, put, replicated
from effnet_jax.stages.block_scorer import BlockScorer, ScorePrograms

_STEP = 28  # patches with ink are counted in steps, so that few shapes are compiled
Pictures = ImageRows | UInt8[np.ndarray, "s h w 3"]


class LateScorer(BlockScorer):
    """Scores sketches with photos by the likeness of their patches; sketches come as `InkedTokens`.

    Memory: at most n d numbers on the device for each sketch of a group, n d for each photo of a block.

    Args:
        model: of the encoders, a ViT.
        config: the window.
        mesh: devices.
        blocks: sizes, as of BlockScorer.
    """

    def __init__(self, model: ModelConfig, config: LateConfig, mesh: Mesh, **blocks: int):
        super().__init__(_programs(model.image_size // model.patch_size, config.window, mesh), mesh, **blocks)


class InkedTokens:
    """Tokens of sketches in which the patches without ink are zero, by which a scorer knows them.

    Args:
        tokens: CLS first.
        sketches: the pictures that they are of.
        patch_size: edge of a patch, pixels.
        ink: mean darkness 0..255 above which a patch holds ink.
    """

    def __init__(self, tokens: TokenRows, sketches: Pictures, patch_size: int, ink: float):
        self._tokens, self._sketches, self._patch_size, self._ink = tokens, sketches, patch_size, ink

    def __len__(self) -> int:
        """Count the sketches."""
        return len(self._tokens)

    def __getitem__(self, rows: slice | Int[np.ndarray, " b"]) -> Float[np.ndarray, "b n d"]:
        """Give the tokens of some sketches."""
        inked = inked_patches(self._sketches[rows], self._patch_size, self._ink)
        kept = np.pad(inked, ((0, 0), (1, 0)), constant_values=True)  # the CLS token stays
        return np.where(kept[..., None], self._tokens[rows], 0)


class InkedPart(NamedTuple):
    """The patches of sketches that hold ink, and some empty ones, so that all sketches of a block have as many."""

    patches: Float32[Array, "s k d"]
    places: Int[Array, "s k"]


@lru_cache(maxsize=8)
def _programs(side: int, window: float, mesh: Mesh) -> ScorePrograms:
    whole, rows, nearby = replicated(mesh), batch_sharded(mesh), near(side, window)
    unit = jax.jit(unit_patches, in_shardings=whole, out_shardings=whole)

    def fold_sketches(tokens: Float[np.ndarray, "s n d"]) -> InkedPart:
        inked = np.asarray(tokens[:, 1:] != 0).any(axis=-1)
        kept = min(-(-int(inked.sum(axis=1).max()) // _STEP) * _STEP, inked.shape[1])
        places = np.argsort(~inked, axis=1, kind="stable")[:, :kept]
        patches = np.take_along_axis(np.asarray(unit(tokens)), places[..., None], axis=1)
        return InkedPart(*put((patches, places), (whole, whole)))

    def score(photos: Float32[Array, "g m d"], sketches: InkedPart) -> Float32[Array, "s g"]:
        return late_scores(sketches.patches, photos, nearby, sketches.places)

    def score_some(
        gallery: Float32[Array, "g m d"], chosen: Int[Array, " c"], sketches: InkedPart
    ) -> Float32[Array, "s c"]:
        return score(gallery[chosen], sketches)

    return ScorePrograms(
        fold_photos=jax.jit(unit_patches, in_shardings=rows, out_shardings=rows),
        fold_sketches=fold_sketches,
        score=jax.jit(score, out_shardings=whole),
        score_some=jax.jit(score_some, out_shardings=whole),
    )
