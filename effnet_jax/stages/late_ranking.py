"""The protocols of late interaction, for the encoders of either stage."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int32

from effnet_jax.config import Config, LateConfig
from effnet_jax.data.cache import ImageRows
from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.encoders.tokens import TokenRows
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.stages.late_scorer import InkedTokens, LateScorer
from effnet_jax.stages.pair_ranking import TOP, MixedScorer, choose_weight, rank_all, rank_shortlist, say_weight
from effnet_jax.stages.stage import Ranked

PROTOCOLS = ("late", "late_rerank")


class EncodedSplit(NamedTuple):
    """What late interaction looks at.

    Attributes:
        tokens: of the sketches and of the photos.
        pictures: the sketches, whose ink says which patches count.
        embeddings: of both.
        truth: row of each sketch's photo.
    """

    tokens: tuple[TokenRows, TokenRows]
    pictures: ImageRows
    embeddings: Embeddings
    truth: Int32[np.ndarray, " s"]

    def inked(self, config: Config) -> InkedTokens:
        """Give the sketches' tokens, those of patches without ink left out."""
        return InkedTokens(self.tokens[0], self.pictures, config.model.patch_size, config.late.ink)


def with_late_weight(config: Config, mesh: Mesh, held_out: EncodedSplit) -> LateConfig:
    """Give the section `late` with the weight that is best on held-out photos."""
    late = config.late
    scorer, truth = LateScorer(config.model, late, mesh), held_out.truth
    weight = choose_weight(
        scorer, held_out.inked(config), held_out.tokens[1], truth, embeddings=held_out.embeddings, scale=late.scale
    )
    return dataclasses.replace(late, weight=weight)


def rank_late(config: Config, mesh: Mesh, split: EncodedSplit, protocol: str, late: LateConfig) -> Ranked:
    """Rank by the likeness of patches, mixed with the encoder's cosine by `late.weight`.

    Args:
        config: of the run.
        mesh: devices.
        split: what is ranked.
        protocol: "late" scores every pair, "late_rerank" the encoder's shortlist.
        late: that section of the configuration, with the weight that was chosen.
    """
    inked, photos = split.inked(config), split.tokens[1]
    scorer = MixedScorer(LateScorer(config.model, late, mesh), split.embeddings, late.weight, late.scale)
    said = say_weight(late.weight, chosen=late.choose_weight, measured=config.eval.split)
    how = f"late interaction: window of {late.window:g} patches, {said} beside the cosine."
    if protocol == "late":
        ranked = rank_all(scorer, inked, photos, split.truth)
    else:
        first = rank_gallery(*split.embeddings, split.truth, top=max(TOP, config.eval.shortlist))
        ranked = rank_shortlist(
            scorer, inked, photos, split.truth, first=first, size=config.eval.shortlist, protocol=protocol, whole="late"
        )
    return ranked._replace(notes=(*ranked.notes, how))
