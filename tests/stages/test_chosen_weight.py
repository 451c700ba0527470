"""The weight of pair scores beside cosines that a run chooses on its held-out photos, keeps, and reports."""

import dataclasses

import numpy as np
import pytest
from tiny import tiny_config, write_pairs

from effnet_jax import run
from effnet_jax.config import ConfigError, LateConfig, TrsmConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.encoders.evaluator import Embeddings
from effnet_jax.runs.folder import trained_encoders
from effnet_jax.stages.pair_ranking import choose_weight


class Table:
    """Scores that are known beforehand."""

    def __init__(self, scores):
        self.scores = scores

    def all_pairs(self, sketches, photos):
        for start in (0, 2):  # in unequal parts
            rows = slice(start, start + 2 if start == 0 else len(sketches))
            yield rows, self.scores[rows]

    def shortlist(self, sketches, photos, chosen):
        return np.take_along_axis(self.scores, chosen, 1)


def mrr_at(weight, cosines, scores, truth):
    mixed = ((1 - weight) * cosines + weight * scores).astype(np.float32)
    own = mixed[np.arange(len(truth)), truth][:, None]
    rank = 1 + (mixed > own).sum(1) + ((mixed == own).sum(1) - 1) / 2
    return (1 / rank).mean()


def world(seed=0, queries=12, photos=9):
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(photos, 6)).astype(np.float32)
    truth = rng.integers(photos, size=queries).astype(np.int32)
    sketches = gallery[truth] + 2.0 * rng.normal(size=(queries, 6)).astype(np.float32)
    s, p = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (sketches, gallery))
    scores = (0.3 * rng.normal(size=(queries, photos))).astype(np.float32)
    scores[np.arange(queries), truth] += 0.3
    return Embeddings(sketches, gallery), s @ p.T, scores, truth


def chosen(embeddings, scores, truth):
    return choose_weight(Table(scores), *embeddings, truth, embeddings=embeddings, scale=1.0)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_weight_has_a_better_mrr(seed):
    embeddings, cosines, scores, truth = world(seed)
    weights = np.linspace(0, 1, 21)
    found = [mrr_at(w, cosines, scores, truth) for w in weights]
    weight = chosen(embeddings, scores, truth)
    assert mrr_at(weight, cosines, scores, truth) == pytest.approx(max(found), abs=1e-9)
    assert len({round(x, 6) for x in found}) > 3  # there was something to choose


def test_of_equals_the_least_is_taken():
    embeddings, cosines, _, truth = world()
    assert chosen(embeddings, (2 * cosines).astype(np.float32), truth) == 0.0
    right = np.zeros((12, 9), np.float32)
    right[np.arange(12), truth] = 10.0
    assert 0 < chosen(embeddings, right, truth) < 0.5


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("chosen")


@pytest.fixture(scope="module")
def first(home):
    config = tiny_config(write_pairs(home / "pairs", range(44), range(44, 60)), home)
    config = dataclasses.replace(
        config,
        late=LateConfig(choose_weight=True),
        data=dataclasses.replace(config.data, validation_share=0.5),
        eval=dataclasses.replace(config.eval, protocols=("encoder", "late"), grid_rows=0),
    )
    return config, run.train(config, home / "stage1")


def best_by_hand(config, workdir, protocol, section, step):
    """Evaluate the held-out photos at every weight that is tried."""
    mrr = {}
    for weight in np.linspace(0, 1, 21):
        given = dataclasses.replace(getattr(config, section), weight=float(weight), choose_weight=False)
        measured = dataclasses.replace(config.eval, split="validation", protocols=(protocol,))
        found = run.evaluate(dataclasses.replace(config, eval=measured, **{section: given}), workdir)
        mrr[float(weight)] = next(e.summary.mrr.value for e in found if e.step == step)
    return max(mrr, key=lambda w: (round(mrr[w], 9), -w))


def test_stage_1_chooses_keeps_and_reports(first, home):
    config, evaluations = first
    last = next(e for e in evaluations if e.protocol == "late" and "last" in e.chosen_as)
    expected = best_by_hand(config, home / "stage1", "late", "late", last.step)
    kept = trained_encoders(home / "stage1", "last").late
    assert kept == dataclasses.replace(config.late, weight=expected)
    said = f"window of 2 patches, weight {expected:g}, chosen on the held-out photos beside the cosine."
    assert any(said in note for note in last.summary.notes)
    measured = dataclasses.replace(config, eval=dataclasses.replace(config.eval, split="validation"))
    optimistic = run.evaluate(measured, home / "stage1")[-1]
    assert any("chosen on the held-out photos that are measured here," in note for note in optimistic.summary.notes)


def test_stage_2_chooses_both(first, home):
    second = dataclasses.replace(
        first[0],
        init_from=str(home / "stage1"),
        trsm=TrsmConfig(enabled=True, heads=2, choose_weight=True),
        train=dataclasses.replace(first[0].train, max_steps=1),
        eval=dataclasses.replace(first[0].eval, protocols=("encoder", "late", "fused"), grid_rows=0),
    )
    evaluations = {e.protocol: e for e in run.train(second, home / "stage2")}
    expected = best_by_hand(second, home / "stage2", "fused", "trsm", 1)
    encoders = trained_encoders(home / "stage2", "last")
    assert encoders.pair_module is not None
    assert encoders.pair_module.config.weight == expected
    assert encoders.late == trained_encoders(home / "stage1").late  # of the same encoders on the same photos
    said = f"fused: TRSM with weight {expected:g}, chosen on the held-out photos beside the encoder's cosine."
    assert said in evaluations["fused"].summary.notes


def test_without_patches_there_is_no_weight_to_choose():
    with pytest.raises(ConfigError, match=r"late\.choose_weight compares the patches of a ViT, and .* is none"):
        from_mapping({"late": {"choose_weight": True}, "model": {"backbone": "resnet18"}})


def test_weights_may_be_changed_where_patches_were_trained_for(first, home):
    config = dataclasses.replace(first[0], loss=dataclasses.replace(first[0].loss, late=1.0))
    run.train(dataclasses.replace(config, train=dataclasses.replace(config.train, max_steps=1)), home / "trained")
    other = dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, max_steps=1),
        late=LateConfig(weight=0.25, scale=3.0),
    )
    assert any("weight 0.25 beside" in note for e in run.evaluate(other, home / "trained") for note in e.summary.notes)
    with pytest.raises(ConfigError, match=r"late\.window"):
        run.evaluate(dataclasses.replace(other, late=LateConfig(window=3.0)), home / "trained")


@pytest.mark.parametrize("section", ["trsm", "late"])
def test_without_held_out_photos_nothing_can_be_chosen(section):
    with pytest.raises(ConfigError, match=rf"{section}\.choose_weight needs held-out photos"):
        from_mapping({section: {"choose_weight": True}})
