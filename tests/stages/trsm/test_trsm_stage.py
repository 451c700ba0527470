"""Stage 2 through the real loop: trained, resumed, reported under every protocol, and refused on wrong encoders."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from made_runs import newest_state
from PIL import Image, ImageDraw

from effnet_jax import run
from effnet_jax.config import (
    Config,
    ConfigError,
    DataConfig,
    EvalConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    TrainConfig,
    TrsmConfig,
)
from effnet_jax.experiment import prepare
from effnet_jax.stages.trsm.frozen_encoders import frozen_encoders
from effnet_jax.stages.trsm.trsm_stage import TrsmStage

QUIET = LogConfig(tensorboard=False, progress=False)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("stage2")


@pytest.fixture(scope="module")
def stage1(home):
    rng = np.random.default_rng(0)
    for part, ids in (("train", range(30)), ("test", range(30, 38))):
        for side in "AB":
            (home / "data" / f"{part}{side}").mkdir(parents=True, exist_ok=True)
        for i in ids:
            corners = [tuple(rng.integers(4, 60, 2).tolist()) for _ in range(4)]
            photo, sketch = Image.new("RGB", (64, 64), "white"), Image.new("RGB", (64, 64), "white")
            ImageDraw.Draw(photo).polygon(corners, fill=tuple(rng.integers(0, 200, 3).tolist()))
            ImageDraw.Draw(sketch).polygon(corners, outline="black")
            photo.save(home / "data" / f"{part}B" / f"{i}.png")
            for tag in ("a", "b")[: 1 + i % 2]:
                sketch.save(home / "data" / f"{part}A" / f"{i}_{tag}.png")
    config = Config(
        data=DataConfig(name="sketch_photo_folder", dir=str(home / "data"), tfds_dir=str(home / "tfds"), cache="ram"),
        model=ModelConfig(
            backbone="vit_tiny", width=16, depth=1, heads=2, image_size=32, embedding_size=8, weights="none"
        ),
        optim=OptimConfig(learning_rate=1e-3),
        train=TrainConfig(batch_size=8, epochs=0.2, eval_every_epochs=1.0),
        eval=EvalConfig(grid_rows=0, ks=(1, 5)),
        log=QUIET,
    )
    run.train(config, home / "stage1")
    return config


def stage2(config, home, *, protocols=("encoder", "rerank", "all_pairs"), train=None, **trsm):
    return dataclasses.replace(
        config,
        init_from=str(home / "stage1"),
        trsm=TrsmConfig(enabled=True, heads=2, **trsm),
        train=train or TrainConfig(batch_size=8, epochs=1.2, eval_every_epochs=0.4, keep_checkpoints=5),
        eval=dataclasses.replace(
            config.eval, protocols=protocols, shortlist=3, paired_shuffles=2, grid_rows=2, ks=(1, 3, 5)
        ),
    )


@pytest.fixture(scope="module")
def trained(stage1, home):
    config = stage2(stage1, home, protocols=("encoder", "rerank", "all_pairs", "paired"))
    return config, run.train(config, home / "stage2")


def test_every_protocol_is_reported_by_name(trained, home):
    _, evaluations = trained
    assert [e.protocol for e in evaluations] == ["encoder", "rerank", "all_pairs", "paired"]
    metrics = json.loads((home / "stage2" / "metrics.json").read_text())
    assert set(metrics["protocols"]) == {"encoder", "rerank", "all_pairs", "paired"}
    encoder = json.loads((home / "stage1" / "metrics.json").read_text())["results"][0]
    first = metrics["results"][0]
    assert {k: first[k] for k in ("acc@1", "acc@5", "mrr")} == {k: encoder[k] for k in ("acc@1", "acc@5", "mrr")}
    note = metrics["results"][3]["notes"][0]
    assert "over 2 seeded orders: Acc@1 " in note and "; Acc@3 " in note and "; Acc@5 " in note
    for folder in ("last", "last_rerank", "last_all_pairs", "last_paired"):
        assert (home / "stage2" / folder / "ranks.csv").is_file()
        assert (home / "stage2" / folder / "retrieval.png").is_file()


def test_encoders_stay_frozen_and_trsm_is_trained(trained, home):
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        kept = checkpointer.restore(home / "stage2" / "encoders")
        theirs = checkpointer.restore(next((home / "stage1" / "checkpoints").glob("[0-9]*")) / "state")
    for got, want in zip(jax.tree.leaves(kept), jax.tree.leaves(theirs["params"]["model"]), strict=True):
        np.testing.assert_array_equal(got, want)
    losses = [json.loads(line) for line in (home / "stage2" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in losses if "train/loss" in line]
    assert losses[-1] < losses[0]


def test_a_resumed_run_ends_in_the_same_bits(trained, home):
    config, _ = trained
    again = home / "resumed"
    shutil.copytree(home / "stage2", again)
    newest, straight = newest_state(again)
    shutil.rmtree(newest)
    assert newest_state(again)[0] != newest
    run.train(config, again)
    path, resumed = newest_state(again)
    assert path == newest
    for got, want in zip(resumed, straight, strict=True):
        np.testing.assert_array_equal(got, want)


def test_kept_encoders_may_be_of_an_earlier_version_and_not_damaged(trained, home):
    config, copy = trained[0], home / "damaged"
    shutil.copytree(home / "stage2", copy)
    record = json.loads((copy / "encoders.json").read_text())
    del record["wanted"]["model"]["stem"]
    (copy / "encoders.json").write_text(json.dumps(record))
    frozen_encoders(prepare(config, copy))
    largest = max((copy / "encoders").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    largest.write_bytes(largest.read_bytes()[:-8] + bytes(8))
    with pytest.raises(ConfigError, match=rf"encoders is damaged(.|\n)*{largest.name} has other content"):
        frozen_encoders(prepare(config, copy))


@pytest.mark.parametrize(
    ("protocols", "best_on_test", "held"),
    [(("encoder",), False, False), (("encoder",), True, True), (("encoder", "rerank"), False, True)],
)
def test_tokens_of_the_test_set_are_kept_only_where_pairs_are_scored(trained, home, protocols, best_on_test, held):
    config = trained[0]
    evaluation = dataclasses.replace(config.eval, protocols=protocols, best_on_test=best_on_test)
    experiment = prepare(dataclasses.replace(config, eval=evaluation), home / "stage2", free_sections=("eval", "log"))
    stage = TrsmStage(experiment)
    sketches, photos = stage.tokens("test")
    assert [sketches.held is not None, photos.held is not None] == [held, held]
    assert stage.tokens("train")[0].held is not None


@pytest.mark.slow
def test_tokens_held_in_memory_or_not_are_the_same(stage1, home):
    short = TrainConfig(batch_size=8, epochs=0.4, eval_every_epochs=1.0, log_every_steps=1)
    ends = []
    for cached in (True, False):
        workdir = home / f"cached_{cached}"
        run.train(stage2(stage1, home, train=short, cache_tokens=cached, pairing="all_pairs"), workdir)
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        ends.append([line["train/loss"] for line in lines if "train/loss" in line])
    np.testing.assert_allclose(*ends, rtol=1e-4)


def refuse(config, workdir, match):
    with pytest.raises(ConfigError, match=match):
        run.train(config, workdir)
    assert not (workdir / "encoders").exists()


def test_wrong_stage_one_runs_are_refused_by_name(stage1, trained, home, tmp_path):
    good = stage2(stage1, home)

    def of(folder):
        return dataclasses.replace(good, init_from=str(folder))

    refuse(of(tmp_path / "nowhere"), tmp_path / "a", "nowhere is not the folder of a run")
    refuse(of(home / "stage2"), tmp_path / "b", "itself a run of stage 2; give the stage-1 run it was made from")
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(home / "stage1" / "config.json", empty)
    refuse(of(empty), tmp_path / "c", "no checkpoint yet; train it first")
    other = dataclasses.replace(
        good,
        model=dataclasses.replace(good.model, width=32),
        data=dataclasses.replace(good.data, std=(0.5, 0.5, 0.5)),
    )
    refuse(other, tmp_path / "d", r"(?s)model\.width: 16 there, 32 here.*data\.std")
    shifted = dataclasses.replace(good, data=dataclasses.replace(good.data, validation_share=0.5))
    refuse(shifted, tmp_path / "e", r"data\.validation_share")


def test_encoders_of_an_earlier_start_are_not_taken_for_those_of_this_one(stage1, home, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(home / "stage1", other)
    workdir = tmp_path / "run"
    optim = OptimConfig(warmup_steps=10**6, schedule="cosine")
    bad = dataclasses.replace(stage2(stage1, home), optim=optim)
    with pytest.raises(ValueError, match="warmup"):
        run.train(bad, workdir)
    assert json.loads((workdir / "encoders.json").read_text())["init_from"] == str(home / "stage1")
    short = TrainConfig(batch_size=8, epochs=0.2, eval_every_epochs=1.0, log_every_steps=1)
    config = dataclasses.replace(stage2(stage1, home, train=short), init_from=str(other))
    run.train(config, workdir)
    assert json.loads((workdir / "encoders.json").read_text())["init_from"] == str(other)
    (workdir / "encoders.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds other encoders than this run was trained with"):
        run.evaluate(config, workdir)


def test_impossible_settings_are_named():
    from effnet_jax.config_reader import from_mapping

    mapping = Config().to_dict()
    mapping["trsm"]["enabled"] = True
    mapping["model"]["pooling"] = "all"
    mapping["trsm"]["heads"] = 7
    with pytest.raises(ConfigError, match=r"(?s)768 must be a multiple of trsm.heads=7.*CLS token.*needs init_from"):
        from_mapping(mapping)
    with pytest.raises(ConfigError, match="without TRSM there are only encoder, late and late_rerank"):
        from_mapping({"eval": {"protocols": ("rerank",)}})
    with pytest.raises(ConfigError, match=r"init_from='runs/x' and model\.weights='a\.pth' both say where to start"):
        from_mapping({"init_from": "runs/x", "model": {"weights": "a.pth"}})
