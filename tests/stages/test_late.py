"""Late interaction as a protocol: in both stages, on any mesh, mixed with the cosine, and by the pair alone."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny import drawn, tiny_config, write_pairs

from effnet_jax import run
from effnet_jax.config import ConfigError, LateConfig, TrsmConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.data.cache import cached_images
from effnet_jax.data.loading import load_splits
from effnet_jax.encoders.encode_program import EncodeProgram
from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.encoders.tokens import encode_split
from effnet_jax.experiment import prepare
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.retrieval.ranking import rank_gallery, rank_scores
from effnet_jax.runtime.sharding import make_mesh
from effnet_jax.stages.late_ranking import EncodedSplit, rank_late
from effnet_jax.stages.late_scorer import InkedTokens, LateScorer

PROTOCOLS = ("encoder", "late", "late_rerank")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("late")


@pytest.fixture(scope="module")
def config(home):
    config = tiny_config(write_pairs(home / "pairs", range(44), range(44, 60)), home, image_size=64)
    return dataclasses.replace(
        config, late=LateConfig(window=2.0), eval=dataclasses.replace(config.eval, protocols=PROTOCOLS, shortlist=5)
    )


@pytest.fixture(scope="module")
def world(config):
    """Tokens, pictures and embeddings of the test split, of random encoders."""
    split = load_splits(config)["test"]
    images = cached_images(split, (64,), mode="ram")
    program = EncodeProgram(config.model, Preprocessing(image_size=64), make_mesh(), tokens="float32")
    params = drawn(jax.eval_shape(make_functional(config.model).init, jax.random.key(0)))
    tokens = encode_split(program, params, images, batch_size=8)
    return split, images, tokens, Embeddings(*(rows.embeddings() for rows in tokens)), params


def scores_of(config, world, rows=slice(None), **blocks):
    _, images, (sketches, photos), _, _ = world
    inked = InkedTokens(sketches, images.sketches(64), 16, config.late.ink)
    scorer = LateScorer(config.model, config.late, make_mesh(), **blocks)
    return np.concatenate([scores for _, scores in scorer.all_pairs(inked, photos[np.arange(len(photos))[rows]])])


def test_a_score_depends_on_the_pair_alone(config, world):
    """The gallery is permuted and shrunk, and compared in other blocks."""
    whole = scores_of(config, world)
    assert whole.shape == (24, 16)
    rows = np.random.default_rng(0).permutation(16)[:7]
    np.testing.assert_allclose(scores_of(config, world, rows), whole[:, rows], atol=1e-6)
    blocks = dict(photo_block=5, sketch_block=3, sketch_group=7)
    np.testing.assert_allclose(scores_of(config, world, **blocks), whole, atol=1e-6)


def test_patches_without_ink_do_not_count(config, world):
    _, images, (sketches, _), _, _ = world
    tokens = InkedTokens(sketches, images.sketches(64), 16, 2.0)
    pictures = images.sketches(64)[:]
    darkness = (255 - pictures.min(-1).astype(float)).reshape(-1, 4, 16, 4, 16).mean((2, 4)).reshape(-1, 16)
    kept = np.abs(tokens[:][:, 1:]).max(-1) > 0
    np.testing.assert_array_equal(kept, darkness > 2)
    assert 0 < kept.mean() < 1
    np.testing.assert_array_equal(tokens[3:5], tokens[np.array([3, 4])])


def rank(config, world, protocol, **late):
    split, images, tokens, embeddings, _ = world
    config = dataclasses.replace(config, late=dataclasses.replace(config.late, **late))
    encoded = EncodedSplit(tokens, images.sketches(64), embeddings, split.photo_index)
    return rank_late(config, make_mesh(), encoded, protocol, config.late)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_ranking_is_that_of_the_mixed_scores(config, world, weight):
    split, _, _, embeddings, _ = world
    s, p = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in embeddings)
    mixed = ((1 - weight) * s @ p.T + weight * 4.0 * scores_of(config, world)) / (1 - weight + weight * 4.0)
    expected = rank_scores(mixed.astype(np.float32), split.photo_index)
    ranked = rank(config, world, "late", weight=weight, scale=4.0)
    np.testing.assert_array_equal(ranked.ranking.better, expected.better)
    np.testing.assert_array_equal(ranked.ranking.top_index, expected.top_index)
    if weight == 0:
        np.testing.assert_array_equal(ranked.ranking.better, rank_gallery(*embeddings, split.photo_index).better)
    assert f"weight {weight:g} beside the cosine" in ranked.notes[-1]


def test_the_shortlist_is_scored_by_the_same_numbers(config, world):
    split, _, _, embeddings, _ = world
    late = rank(config, world, "late", weight=0.5)
    everything = dataclasses.replace(config, eval=dataclasses.replace(config.eval, shortlist=16))
    again = rank(everything, world, "late_rerank", weight=0.5)
    np.testing.assert_array_equal(late.ranking.better, again.ranking.better)
    assert "holds the whole gallery, so this is late" in again.notes[0]
    few = rank(config, world, "late_rerank", weight=0.5)
    first = rank_gallery(*embeddings, split.photo_index)
    outside = first.better >= 5
    assert outside.any() and not outside.all()
    np.testing.assert_array_equal(few.ranking.better[outside], first.better[outside])
    assert (few.ranking.better[~outside] < 5).all()


def test_both_stages_report_it(config, home):
    first = {evaluation.protocol: evaluation.summary for evaluation in run.train(config, home / "stage1")}
    assert set(first) == set(PROTOCOLS)
    assert (home / "stage1" / "last_late" / "ranks.csv").is_file()
    second = dataclasses.replace(config, init_from=str(home / "stage1"), trsm=TrsmConfig(enabled=True, heads=2))
    again = {e.protocol: e.summary for e in run.train(second, home / "stage2") if e.chosen_as == ("last",)}
    chosen = [e for e in run.evaluate(config, home / "stage1") if "best_on_validation" in e.chosen_as]
    theirs = {e.protocol: e.summary for e in chosen}
    for protocol in PROTOCOLS:  # the frozen encoders are those of the best checkpoint
        assert again[protocol].mrr == theirs[protocol].mrr


def test_what_training_did_not_look_at_may_be_changed_to_evaluate(config, home):
    def reported(**late):
        changed = dataclasses.replace(config, late=dataclasses.replace(config.late, **late))
        return {e.protocol: e.summary.mrr for e in run.evaluate(changed, home / "stage1") if "last" in e.chosen_as}

    alone = reported(weight=0.0)
    assert alone["late"] == alone["encoder"] != reported()["late"]
    trained_for = dataclasses.replace(config, loss=dataclasses.replace(config.loss, late=1.0))
    with pytest.raises(ConfigError, match=r"loss\.late"):
        run.evaluate(trained_for, home / "stage1")


def test_checkpoints_tell_how_patches_are_compared(config, home):
    experiment = prepare(config, home / "told")
    assert experiment.metadata["late"] == dataclasses.asdict(config.late)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval": {"protocols": ("late",)}, "model": {"backbone": "resnet18"}}, "resnet18 is none"),
        ({"eval": {"protocols": ("rerank",)}}, "without TRSM there are only encoder, late and late_rerank"),
        ({"late": {"window": -1.0}}, r"late\.window=-1.0 must not be negative"),
        ({"late": {"weight": 1.5}}, r"late\.weight=1.5 must lie in 0..1"),
        ({"late": {"ink": 255.0}}, r"late\.ink=255.0 is a darkness"),
        ({"late": {"scale": 0.0}}, r"late\.scale=0.0 must be above 0"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        from_mapping(changes)
