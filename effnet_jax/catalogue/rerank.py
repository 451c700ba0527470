"""Score an index's first photos anew, sketch and photo together: TRSM on the tokens that the index keeps."""

import numpy as np
from jaxtyping import Float32, Int, UInt8

from effnet_jax.encoders.encoders import Encoders
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.trsm.pair_scoring import PairScorer, TokenRows


class Reranker:
    """Scores sketches with photos of an index.

    Args:
        encoders: of a stage-2 run.
        photos: tokens of the index's photos.

    Raises:
        ValueError: the encoders are of a stage-1 run, which has nothing to score pairs with.
    """

    def __init__(self, encoders: Encoders, photos: TokenRows):
        module = encoders.pair_module
        if module is None:
            raise ValueError(
                "re-ranking needs TRSM, and the index was made with a stage-1 run; embed with a stage-2 run "
                "(--checkpoint, --tokens): on the same encoders nothing is embedded anew but the tokens."
            )
        trsm = make_functional_trsm(encoders.config, module.config)
        self._encoders = encoders
        self._photos = photos
        self._scorer = PairScorer(trsm, module.params, make_mesh())

    def __call__(
        self, sketches: UInt8[np.ndarray, "s h w 3"], index: Int[np.ndarray, "s m"]
    ) -> tuple[Int[np.ndarray, "s m"], Float32[np.ndarray, "s m"]]:
        """Order each sketch's photos by their new scores, best first; equal scores keep their order.

        Args:
            sketches: resized to what the encoders see.
            index: rows of the index for each sketch.

        Returns:
            The rows in their new order, and their scores: cosines of the embeddings that TRSM gives the pair.
        """
        tokens = self._encoders.sketch_tokens(sketches).astype(np.float32)
        scores = self._scorer.shortlist(tokens, self._photos, index)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(index, order, 1), np.take_along_axis(scores, order, 1)
