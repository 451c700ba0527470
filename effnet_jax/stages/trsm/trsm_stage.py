"""Stage 2: TRSM on the frozen encoders of a stage-1 run."""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float32, Key

from effnet_jax.config import LateConfig
from effnet_jax.data.mining import GroupedOrder
from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.encoders.tokens import EncodedTokens, encode_split
from effnet_jax.experiment import Experiment
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.retrieval.scores import unit_rows
from effnet_jax.runs.state import Variables
from effnet_jax.runtime.sharding import gathered, replicated
from effnet_jax.stages import late_ranking
from effnet_jax.stages.draws import ANCHOR, AUGMENTED, DOMAINS
from effnet_jax.stages.image_batches import image_batches
from effnet_jax.stages.late_ranking import EncodedSplit
from effnet_jax.stages.pair_ranking import (
    TOP,
    MixedScorer,
    choose_weight,
    rank_all,
    rank_shortlist,
    say_weight,
    shorten,
)
from effnet_jax.stages.stage import Ranked, Stage
from effnet_jax.stages.trsm.frozen_encoders import frozen_encoders
from effnet_jax.stages.trsm.pair_scoring import PairScorer
from effnet_jax.stages.trsm.published_protocol import rank_paired
from effnet_jax.stages.trsm.token_batches import Held, encode_views, make_view_program, token_batches
from effnet_jax.stages.trsm.trsm_flops import trsm_step_flops
from effnet_jax.stages.trsm.trsm_objective import init_trsm_variables, make_trsm_objective, uses_augmented_view
from effnet_jax.stages.trsm.trsm_start import start_at_encoder
from effnet_jax.stages.views import view_names


class TrsmStage(Stage):
    """Stage 2: the token module is trained, and scores sketches and photos in pairs.

    The encoders do not change, so a split is encoded once for all checkpoints and protocols.
    """

    selection_protocol = "all_pairs"

    def __init__(self, experiment: Experiment):
        super().__init__(experiment)
        self._trsm = make_functional_trsm(self.config.model, self.config.trsm)
        self._frozen = frozen_encoders(experiment)
        self._program = experiment.encode_program(tokens=self.config.model.dtype)
        self._tokens: dict[str, tuple[EncodedTokens, EncodedTokens]] = {}
        self._splits: dict[str, EncodedSplit] = {}
        self._by_encoder: dict[str, Ranked] = {}
        self.objective = make_trsm_objective(self.config, self._trsm)

    def init(self, key: Key[Array, ""]) -> Variables:
        """Initialise all that stage 2 trains."""
        return init_trsm_variables(self._trsm, self.config, key)

    def pretrained(self, fresh: Variables) -> Variables:
        """Start at the encoder where `trsm.start` says so."""
        if self.config.trsm.start != "encoder":
            return fresh
        whole = replicated(self.experiment.mesh)
        program = jax.jit(start_at_encoder, in_shardings=(self.shardings.params["trsm"], whole),
                          out_shardings=self.shardings.params["trsm"])  # fmt: skip
        return fresh._replace(params={**fresh.params, "trsm": program(fresh.params["trsm"], self._frozen)})

    def photo_embeddings(self, variables: Variables) -> Float32[np.ndarray, "g z"]:
        """Embed the training photos with the frozen encoders; unit norm."""
        del variables
        return unit_rows(self.tokens("train")[1].embeddings())

    def batches(
        self, start: int, key: Key[Array, ""], order: GroupedOrder | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Give batches of tokens, already on the mesh."""
        experiment, (held, wanted) = self.experiment, self._train_tokens
        images = image_batches(experiment, view_names(self.config.augment, wanted), start, order)
        views = make_view_program(self.config.augment, experiment.preprocessing, experiment.mesh, wanted)
        encode = partial(encode_views, views, self._program, self._frozen)
        return token_batches(images, encode, key, experiment.mesh, held)

    def rank(self, variables: Variables, split: str, protocol: str) -> Ranked:
        """Rank by the encoder alone, by its shortlist scored anew or all pairs (TRSM's or patches), or as published."""
        first = self._encoder_ranking(split)
        if protocol == "encoder":
            return Ranked(shorten(first.ranking), first.embeddings)
        config, params = self.config.eval, variables.params["trsm"]
        (sketches, photos), truth = self.tokens(split), self.experiment.splits[split].photo_index
        if protocol == "paired":
            ranking, note = rank_paired(
                self._trsm, params, sketches, photos, truth, black=sketches.black(), shuffles=config.paired_shuffles,
                ks=config.ks,
            )  # fmt: skip
            return Ranked(ranking, notes=(note,))
        if protocol in late_ranking.PROTOCOLS:
            late, encoded = self._late, self._encoded(split)
            return late_ranking.rank_late(self.config, self.experiment.mesh, encoded, protocol, late)
        scorer, every, notes = self._scorer(variables), "all_pairs", ()
        if protocol in ("fused", "fused_rerank"):
            weight, every = self._weight(variables), "fused"
            scorer = MixedScorer(scorer, self._encoded(split).embeddings, weight, scale=1.0)
            said = say_weight(weight, chosen=self.config.trsm.choose_weight, measured=self.config.eval.split)
            notes = (f"{protocol}: TRSM with {said} beside the encoder's cosine.",)
        if protocol == every:
            ranked = rank_all(scorer, sketches, photos, truth)
        else:
            ranked = rank_shortlist(
                scorer, sketches, photos, truth,
                first=first.ranking, size=config.shortlist, protocol=protocol, whole=every,
            )  # fmt: skip
        return ranked._replace(notes=(*ranked.notes, *notes))

    def saved_beside(self, variables: Variables) -> Mapping[str, Any]:
        """Give the weights of TRSM and of late interaction, so that an index scores as the evaluation does."""
        whole = gathered(variables, self.experiment.mesh) if self.config.trsm.choose_weight else variables
        trsm = dataclasses.replace(self.config.trsm, weight=self._weight(whole))
        return {"trsm": dataclasses.asdict(trsm), "late": dataclasses.asdict(self._late)}

    def step_flops(self) -> float:
        """Count the frozen encoders' forward passes and the gradient of TRSM."""
        _, wanted = self._train_tokens
        return trsm_step_flops(self.config, self._trsm, sum(map(len, wanted.values())))

    def tokens(self, split: str) -> tuple[EncodedTokens, EncodedTokens]:
        """Give the tokens of a split's sketches and photos; they are held only where more than the encoder ranks it."""
        if split not in self._tokens:
            config = self.config.eval
            by_pairs = split != "test" or config.best_on_test or set(config.protocols) != {"encoder"}
            self._tokens[split] = encode_split(
                self._program,
                self._frozen,
                self.experiment.images(split, (self.config.model.image_size,)),
                batch_size=self.config.eval.batch_size,
                hold=None if by_pairs and self.config.trsm.cache_tokens else False,
            )
        return self._tokens[split]

    def _scorer(self, variables: Variables) -> PairScorer:
        return PairScorer(self._trsm, variables.params["trsm"], self.experiment.mesh)

    def _weight(self, variables: Variables) -> float:
        """Give the weight of TRSM, the best on held-out photos where `trsm.choose_weight` asks for that."""
        if not self.config.trsm.choose_weight:
            return self.config.trsm.weight
        held_out = self._encoded("validation")
        return choose_weight(
            self._scorer(variables), *held_out.tokens, held_out.truth, embeddings=held_out.embeddings, scale=1.0
        )

    @cached_property
    def _late(self) -> LateConfig:
        """The section `late`, with the weight that is best on held-out photos where it asks for that."""
        if not self.config.late.choose_weight:
            return self.config.late
        return late_ranking.with_late_weight(self.config, self.experiment.mesh, self._encoded("validation"))

    def _encoded(self, split: str) -> EncodedSplit:
        """Give a split with its embeddings, kept for all protocols: where tokens are not held they cost a pass."""
        if split not in self._splits:
            size, tokens = self.config.model.image_size, self.tokens(split)
            pictures = self.experiment.images(split, (size,)).sketches(size)
            embeddings = Embeddings(*(rows.embeddings() for rows in tokens))
            truth = self.experiment.splits[split].photo_index
            self._splits[split] = EncodedSplit(tokens, pictures, embeddings, truth)
        return self._splits[split]

    def _encoder_ranking(self, split: str) -> Ranked:
        """Rank by the encoder, with all photos listed that the shortlist may ask for."""
        if split not in self._by_encoder:
            encoded, top = self._encoded(split), max(TOP, self.config.eval.shortlist)
            ranking = rank_gallery(*encoded.embeddings, encoded.truth, top=top)
            self._by_encoder[split] = Ranked(ranking, encoded.embeddings)
        return self._by_encoder[split]

    @cached_property
    def _train_tokens(self) -> tuple[Held, dict[str, tuple[int, ...]]]:
        """Tokens of the anchors that are held, and which views of a domain each step has to encode."""
        names = view_names(self.config.augment, dict.fromkeys(DOMAINS, (ANCHOR,)))
        fixed = [domain for domain in DOMAINS if names[domain] == ("a0",) and self._are_fixed(domain)]
        rows = dict(zip(DOMAINS, self.tokens("train"), strict=True)) if fixed else {}
        held = {domain: rows[domain] for domain in fixed if rows[domain].held is not None}
        augmented = (AUGMENTED,) if uses_augmented_view(self.config) else ()
        return held, {domain: (() if domain in held else (ANCHOR,)) + augmented for domain in DOMAINS}

    def _are_fixed(self, domain: str) -> bool:
        """Tell whether the pictures of a domain are the same in every epoch, and are all of the training split."""
        drawn = domain == "sketch" and (self.experiment.draws("train") or self.config.augment.redraw)
        return not (drawn or "unpaired" in self.experiment.splits or self.config.augment.mirror_pairs)
