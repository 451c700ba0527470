"""Score an index's first photos anew, sketch and photo together, from the tokens that the index keeps.

By TRSM where the index was made by a stage-2 run, else by the likeness of patches (late interaction).
"""

import numpy as np
from jaxtyping import Float32, Int, UInt8

from effnet_jax.encoders.encoders import Encoders
from effnet_jax.encoders.tokens import TokenRows
from effnet_jax.models.presets import BACKBONES
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.retrieval.scores import mix
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.late_scorer import InkedTokens, LateScorer
from effnet_jax.stages.trsm.pair_scoring import PairScorer


class Reranker:
    """Scores sketches with photos of an index.

    Args:
        encoders: of a run.
        photos: tokens of the index's photos.

    Raises:
        ValueError: encoders that are no ViT, whose tokens nothing compares.
    """

    def __init__(self, encoders: Encoders, photos: TokenRows):
        module, config = encoders.pair_module, encoders.config
        self._encoders, self._photos = encoders, photos
        if module is not None:
            self._scorer = PairScorer(make_functional_trsm(config, module.config), module.params, make_mesh())
        elif BACKBONES[config.backbone].family == "vit":
            self._scorer = LateScorer(config, encoders.late, make_mesh())
        else:
            raise ValueError(f"re-ranking compares the patches of a ViT, and this index is of {config.backbone}.")

    def __call__(
        self, sketches: UInt8[np.ndarray, "s h w 3"], index: Int[np.ndarray, "s m"], cosines: Float32[np.ndarray, "s m"]
    ) -> tuple[Int[np.ndarray, "s m"], Float32[np.ndarray, "s m"]]:
        """Order each sketch's photos by their new scores, best first; equal scores keep their order.

        Args:
            sketches: resized to what the encoders see.
            index: rows of the index for each sketch.
            cosines: their scores so far.

        Returns:
            The rows in their new order, and their scores: cosines of the embeddings that TRSM gives the pair, mixed
            with `cosines` as the run's `trsm.weight` says, or mean cosines of patches, mixed as its `late` says.
        """
        scores = self._score(sketches, index, cosines)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(index, order, 1), np.take_along_axis(scores, order, 1)

    def _score(self, sketches: np.ndarray, index: np.ndarray, cosines: np.ndarray) -> np.ndarray:
        tokens = self._encoders.sketch_tokens(sketches).astype(np.float32)
        module, late = self._encoders.pair_module, self._encoders.late
        if module is not None:
            rows, weight, scale = tokens, module.config.weight, 1.0
        else:
            rows = InkedTokens(tokens, sketches, self._encoders.config.patch_size, late.ink)
            weight, scale = late.weight, late.scale
        return mix(cosines, self._scorer.shortlist(rows, self._photos, index), weight, scale)
