"""The protocols of late interaction, for the encoders of either stage."""

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int32

from effnet_jax.config import Config
from effnet_jax.data.cache import ImageRows
from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.encoders.tokens import TokenRows
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.stages.late_scorer import InkedTokens, LateScorer
from effnet_jax.stages.pair_ranking import TOP, MixedScorer, rank_all, rank_shortlist
from effnet_jax.stages.stage import Ranked

PROTOCOLS = ("late", "late_rerank")


def rank_late(
    config: Config,
    mesh: Mesh,
    tokens: tuple[TokenRows, TokenRows],
    sketches: ImageRows,
    embeddings: Embeddings,
    truth: Int32[np.ndarray, " s"],
    protocol: str,
) -> Ranked:
    """Rank by the likeness of patches, mixed with the encoder's cosine by `late.weight`.

    Args:
        config: of the run.
        mesh: devices.
        tokens: of the sketches and of the photos.
        sketches: their pictures, whose ink says which patches count.
        embeddings: of both.
        truth: row of each sketch's photo.
        protocol: "late" scores every pair, "late_rerank" the encoder's shortlist.
    """
    late, (of_sketches, of_photos) = config.late, tokens
    inked = InkedTokens(of_sketches, sketches, config.model.patch_size, late.ink)
    scorer = MixedScorer(LateScorer(config.model, late, mesh), embeddings, late.weight, late.scale)
    how = f"late interaction: window of {late.window:g} patches, weight {late.weight:g} beside the cosine."
    if protocol == "late":
        ranked = rank_all(scorer, inked, of_photos, truth)
    else:
        first = rank_gallery(*embeddings, truth, top=max(TOP, config.eval.shortlist))
        ranked = rank_shortlist(
            scorer, inked, of_photos, truth, first=first, size=config.eval.shortlist, protocol=protocol, whole="late"
        )
    return ranked._replace(notes=(*ranked.notes, how))
