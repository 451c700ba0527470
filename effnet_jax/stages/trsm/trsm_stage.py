"""Stage 2: TRSM on the frozen encoders of a stage-1 run."""

from collections.abc import Iterator, Mapping
from functools import cache, partial
from typing import Any

from jaxtyping import Array, Key

from effnet_jax.encoders.evaluator import Embedder
from effnet_jax.encoders.tokens import EncodedTokens, TokenEncoder
from effnet_jax.experiment import Experiment
from effnet_jax.models.trsm import make_functional_trsm
from effnet_jax.retrieval.ranking import Ranking, join_rankings, rank_gallery, rank_scores, rerank
from effnet_jax.runs.state import Variables
from effnet_jax.stages.alignment.alignment_stage import image_batches
from effnet_jax.stages.stage import Ranked, Stage, abstract_state
from effnet_jax.stages.trsm.frozen_encoders import frozen_encoders
from effnet_jax.stages.trsm.pair_scoring import PairScorer
from effnet_jax.stages.trsm.published_protocol import rank_paired
from effnet_jax.stages.trsm.token_batches import make_view_encoder, token_batches
from effnet_jax.stages.trsm.trsm_objective import init_trsm_variables, make_trsm_objective, uses_augmented_view
from effnet_jax.stages.views import ANCHOR, AUGMENTED
from effnet_jax.training.flops import trsm_step_flops

TOP = 10  # photos listed for each sketch


def trsm_stage(experiment: Experiment) -> Stage:
    """Put stage 2 together, on the encoders of the run that `init_from` names."""
    config, model, mesh = experiment.config, experiment.model, experiment.mesh
    trsm = make_functional_trsm(config.model, config.trsm)
    frozen = frozen_encoders(experiment)
    names = {"sketch": config.augment.sketch_views, "photo": config.augment.photo_views}
    encode = TokenEncoder(model, experiment.preprocessing, mesh, config.eval.batch_size)
    embed = Embedder(model, experiment.preprocessing, mesh, config.eval.batch_size)

    @cache  # the encoders do not change: a split is encoded once for all checkpoints and protocols
    def tokens(split: str) -> tuple[EncodedTokens, EncodedTokens]:
        hold = None if config.trsm.cache_tokens else False
        return encode(frozen, experiment.images(split, (config.model.image_size,)), hold=hold)

    @cache
    def encoder_ranking(split: str) -> Ranked:
        embeddings = embed(frozen, experiment.images(split, (config.model.image_size,)))
        top = max(TOP, config.eval.shortlist)
        return Ranked(rank_gallery(*embeddings, experiment.splits[split].photo_index, top=top), embeddings)

    @cache
    def train_tokens() -> tuple[dict[str, EncodedTokens], dict[str, tuple[int, ...]]]:
        """Tokens of the anchors that are held, and which views of a domain each step has to encode."""
        held, wanted = {}, {}
        for domain, rows in zip(names, tokens("train"), strict=True):
            fixed = names[domain][ANCHOR] == "a0" and rows.held is not None
            held |= {domain: rows} if fixed else {}
            wanted[domain] = (() if fixed else (ANCHOR,)) + ((AUGMENTED,) if uses_augmented_view(config) else ())
        return held, wanted

    def batches(start: int, key: Key[Array, ""]) -> Iterator[Mapping[str, Any]]:
        held, wanted = train_tokens()
        views = {domain: tuple(names[domain][i] for i in which) for domain, which in wanted.items()}
        encode_views = make_view_encoder(config, model, experiment.preprocessing, mesh, wanted)
        return token_batches(image_batches(experiment, views, start), encode_views, frozen, key, mesh, held)

    def rank(variables: Variables, split: str, protocol: str) -> Ranked:
        truth = experiment.splits[split].photo_index
        first = encoder_ranking(split)
        if protocol == "encoder":
            return Ranked(shorten(first.ranking), first.embeddings)
        scorer = PairScorer(trsm, variables.params["trsm"], mesh)
        if protocol == "all_pairs":
            parts = [rank_scores(scores, truth[rows]) for rows, scores in scorer.all_pairs(*tokens(split))]
            return Ranked(join_rankings(parts))
        if protocol == "rerank":
            chosen = first.ranking.top_index[:, : config.eval.shortlist]
            scores = scorer.shortlist(*tokens(split), chosen)
            note = f"rerank: the encoder's first {chosen.shape[1]} photos, scored anew; the others follow in its order."
            if chosen.shape[1] == first.ranking.gallery_size:
                note = "rerank: eval.shortlist holds the whole gallery, so this is all_pairs."
            return Ranked(rerank(shorten(first.ranking, chosen.shape[1]), scores, truth, top=TOP), notes=(note,))
        sketches, photos = tokens(split)
        black, shuffles = sketches.black(), config.eval.paired_shuffles
        ranking, note = rank_paired(
            trsm, variables.params["trsm"], sketches, photos, truth, black=black, shuffles=shuffles
        )
        return Ranked(ranking, notes=(note,))

    init = partial(init_trsm_variables, trsm, config)
    return Stage(
        init=init,
        state=abstract_state(experiment, init),
        pretrained=lambda fresh: fresh,
        objective=make_trsm_objective(config, trsm),
        batches=batches,
        rank=rank,
        step_flops=lambda: trsm_step_flops(config, trsm, sum(map(len, train_tokens()[1].values()))),
        selection_protocol="all_pairs",
    )


def shorten(ranking: Ranking, top: int = TOP) -> Ranking:
    """List fewer photos for each sketch."""
    fields = vars(ranking) | {"top_index": ranking.top_index[:, :top], "top_score": ranking.top_score[:, :top]}
    return Ranking(**fields)
