"""TRSM that starts at the encoder: its scores are the encoder's cosines, in the plain module and in the fast one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_config, write_pairs

from effnet_jax import run
from effnet_jax.config import ConfigError, ModelConfig, TrsmConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.experiment import prepare
from effnet_jax.models.trsm import TRSM, make_functional_trsm
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.trsm.pair_scoring import PairScorer
from effnet_jax.stages.trsm.trsm_stage import TrsmStage
from effnet_jax.stages.trsm.trsm_start import start_at_encoder

WIDTH, Z, N = 16, 6, 5
TRSM_ = make_functional_trsm(ModelConfig(width=WIDTH, embedding_size=Z, precision="highest"), TrsmConfig(heads=4))


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def encoders(shared):
    names = ("encoder",) if shared else ("sketch_encoder", "photo_encoder")
    return {name: {"head": {"kernel": draw(i, WIDTH, Z), "bias": draw(9 + i, Z)}} for i, name in enumerate(names)}


@pytest.mark.parametrize("shared", [True, False])
def test_every_first_score_is_the_encoders_cosine(shared):
    theirs = encoders(shared)
    params = start_at_encoder(TRSM_.init(jax.random.key(0)), theirs)
    sketches, photos = draw(20, 7, N, WIDTH), draw(21, 4, N, WIDTH)
    s, p = (
        tokens[:, 0] @ theirs[name]["head"]["kernel"] + theirs[name]["head"]["bias"]
        for tokens, name in ((sketches, next(iter(theirs))), (photos, next(reversed(theirs))))
    )
    pair = TRSM_.call(TRSM.__call__)(params, jnp.asarray(photos), jnp.asarray(sketches[:4]))
    np.testing.assert_allclose(pair.sketch_embedding, s[:4], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pair.photo_embedding, p, rtol=1e-5, atol=1e-6)
    ((_, scores),) = PairScorer(TRSM_, params, make_mesh()).all_pairs(sketches, photos)
    cosines = (s @ p.T) / np.linalg.norm(s, axis=1)[:, None] / np.linalg.norm(p, axis=1)
    np.testing.assert_allclose(scores, cosines, atol=1e-6)


def test_what_is_zero_learns():
    params = start_at_encoder(TRSM_.init(jax.random.key(0)), encoders(True))
    sketches, photos = jnp.asarray(draw(20, 3, N, WIDTH)), jnp.asarray(draw(21, 3, N, WIDTH))

    def score(params):
        pair = TRSM_.call(TRSM.__call__)(params, photos, sketches)
        return jnp.sum(pair.sketch_embedding * pair.photo_embedding)

    gradient = jax.grad(score)(params)
    for module, layers in (("intra", ("value", "out")), ("inter", ("photo_value", "sketch_value", "photo_out"))):
        for layer in layers:
            assert not np.asarray(params[module][layer]["kernel"]).any()
            assert np.abs(gradient[module][layer]["kernel"]).max() > 1e-3


def test_a_run_begins_at_its_encoder_and_moves(tmp_path):
    first = tiny_config(write_pairs(tmp_path / "pairs", range(44), range(44, 60)), tmp_path)
    run.train(first, tmp_path / "stage1")
    protocols = ("encoder", "all_pairs", "rerank")
    second = dataclasses.replace(
        first,
        init_from=str(tmp_path / "stage1"),
        trsm=TrsmConfig(enabled=True, heads=2, start="encoder"),
        optim=dataclasses.replace(first.optim, learning_rate=1e-30),
        train=dataclasses.replace(first.train, max_steps=1),
        eval=dataclasses.replace(first.eval, protocols=protocols, shortlist=5, grid_rows=0),
    )
    still = {e.protocol: e.summary for e in run.train(second, tmp_path / "still")}
    assert still["encoder"].mrr == still["all_pairs"].mrr == still["rerank"].mrr
    fast = dataclasses.replace(second, optim=dataclasses.replace(first.optim, learning_rate=0.1))
    moved = {e.protocol: e.summary for e in run.train(fast, tmp_path / "moved")}
    assert moved["encoder"].mrr == still["encoder"].mrr != moved["all_pairs"].mrr


def test_fused_lies_between_the_encoder_and_trsm(tmp_path):
    first = tiny_config(write_pairs(tmp_path / "pairs", range(44), range(44, 60)), tmp_path)
    run.train(first, tmp_path / "stage1")
    second = dataclasses.replace(
        first,
        init_from=str(tmp_path / "stage1"),
        trsm=TrsmConfig(enabled=True, heads=2),
        train=dataclasses.replace(first.train, max_steps=1),
        eval=dataclasses.replace(
            first.eval, protocols=("encoder", "all_pairs", "fused", "fused_rerank"), shortlist=16, grid_rows=0
        ),
    )
    run.train(second, tmp_path / "stage2")
    stages = {
        weight: TrsmStage(prepare(dataclasses.replace(second, trsm=dataclasses.replace(second.trsm, weight=weight)),
                                  tmp_path / "stage2", free_sections=("trsm", "log")))
        for weight in (0.0, 0.5, 1.0)
    }  # fmt: skip
    experiment = stages[0.5].experiment
    with experiment.open_checkpoints() as checkpoints:
        variables = checkpoints.restore(1, stages[0.5].state).variables
    better = {w: stage.rank(variables, "test", "fused").ranking.better for w, stage in stages.items()}
    alone = {p: stages[0.5].rank(variables, "test", p).ranking.better for p in ("encoder", "all_pairs")}
    np.testing.assert_array_equal(better[0.0], alone["encoder"])
    np.testing.assert_array_equal(better[1.0], alone["all_pairs"])
    assert (better[0.5] != better[0.0]).any() and (better[0.5] != better[1.0]).any()
    ranked = stages[0.5].rank(variables, "test", "fused_rerank")
    np.testing.assert_array_equal(ranked.ranking.better, better[0.5])
    assert "fused_rerank: TRSM with weight 0.5 beside the encoder's cosine." in ranked.notes


def test_a_head_on_recycled_tokens_is_refused():
    with pytest.raises(ConfigError, match=r"trsm\.start='encoder' takes the encoder's head on the CLS token"):
        from_mapping(
            {"init_from": "runs/x", "trsm": {"enabled": True, "start": "encoder"}, "model": {"token_recycling": True}}
        )
