"""Training that starts from trained encoders: a run, one of its checkpoints, or what export wrote; in both stages."""

import contextlib
import dataclasses
import json
import logging
import shutil

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import load_file, save_file
from tiny import tiny_config, write_pairs

from effnet_jax import run
from effnet_jax.cli.program import main
from effnet_jax.config import Config, ConfigError, TrsmConfig
from effnet_jax.figures.attention_figures import _start
from effnet_jax.figures.drawn import FigureSource
from effnet_jax.figures.evaluated import read_evaluated
from effnet_jax.runs.folder import Run, trained_encoders
from effnet_jax.runs.starting_point import refuse_misfits, starting_encoders, with_image_size


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("transfer")


@pytest.fixture(scope="module")
def first(home):
    """A run on other pairs than those of `second`, but for two photos of its test set."""
    write_pairs(home / "first", [*range(100, 144), 45, 47], range(144, 150))
    config = tiny_config(home / "first", home)
    run.train(config, home / "run1")
    return config


@pytest.fixture(scope="module")
def exported(first, home):
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["export", str(home / "run1"), str(home / "exported"), "--format", "safetensors"]
        patch.setattr("sys.argv", ["effnet-jax", *arguments])
        with contextlib.suppress(SystemExit):
            main()
    return home / "exported"


@pytest.fixture(scope="module")
def second(home, first):
    write_pairs(home / "second", range(44), range(44, 52))
    return started(tiny_config(home / "second", home), home / "run1")


def started(config: Config, start, **changes) -> Config:
    return dataclasses.replace(config, init_from=str(start), **changes)


def short(config: Config) -> Config:
    """One step at a rate of nearly nothing, after which the parameters are still those that training began with."""
    return dataclasses.replace(
        config,
        optim=dataclasses.replace(config.optim, learning_rate=1e-30),
        train=dataclasses.replace(config.train, max_steps=1),
    )


def encoders_of(workdir):
    newest = max((p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    with ocp.StandardCheckpointer() as checkpointer:
        return jax.tree.leaves(checkpointer.restore(newest / "state")["params"]["model"])


@pytest.mark.parametrize("start", ["run1", "exported", "checkpoint"])
def test_encoders_and_heads_are_those_of_the_first_run(first, exported, second, home, start):
    theirs = trained_encoders(home / "run1")
    chosen = Run(home / "run1").checkpoint("best").folder
    place = {"run1": home / "run1", "exported": exported, "checkpoint": chosen}[start]
    workdir = home / f"from_{start}"
    run.train(short(started(second, place)), workdir)
    for got, want in zip(encoders_of(workdir), jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_array_equal(got, want)


def test_what_was_taken_is_said_recorded_and_reported(second, home, capsys):
    shown = dataclasses.replace(second, log=dataclasses.replace(second.log, progress=True))
    evaluations = run.train(short(shown), home / "told")
    step = Run(home / "run1").checkpoint("best").step
    start = Run(home / "told").start
    assert start is not None
    assert (start.step, start.run, start.dataset) == (step, str(home / "run1"), "sketch_photo_folder")
    sentence = f"starts from step {step} (best on validation (MRR)) of {home / 'run1'}, trained on sketch_photo_folder"
    assert sentence in capsys.readouterr().err
    assert json.loads((home / "told" / "config.json").read_text())["init_from"] == str(home / "run1")
    for evaluation in evaluations:
        assert f"The run {sentence}: the encoders with their heads." in evaluation.summary.notes


def test_test_photos_that_were_trained_on_before_are_named(second, home, caplog):
    with caplog.at_level(logging.WARNING):
        evaluations = run.train(short(second), home / "leaking")
    found = "2 of the 8 test photos were trained on before"
    assert found in caplog.text and "item_045, item_047" in caplog.text
    assert any(found in note for note in evaluations[0].summary.notes)
    # ... also where the run between knew nothing of them
    third = started(tiny_config(home / "second", home), home / "leaking")
    assert any(found in note for note in run.train(short(third), home / "third")[0].summary.notes)


def test_what_an_older_run_was_trained_on_is_not_known(second, home, caplog):
    shutil.copytree(home / "run1", home / "older")
    record = json.loads((home / "older" / "split.json").read_text())
    (home / "older" / "split.json").write_text(
        json.dumps({name: {k: v for k, v in part.items() if k != "photo_sha256"} for name, part in record.items()})
    )
    run.train(short(started(second, home / "older")), home / "from_older")
    assert "were trained on is not known here" in caplog.text


def test_held_out_photos_that_chose_a_checkpoint_before_were_not_trained_on(first, home):
    again = started(first, home / "run1")
    notes = run.train(short(again), home / "again_on_the_same")[0].summary.notes
    assert not any("validation photos" in note for note in notes)


def test_attention_before_training_is_that_of_the_start(second, home):
    run.train(short(second), home / "attention")
    source = FigureSource(read_evaluated(home / "attention"), Run(home / "attention").config, home / "attention")
    params, note = _start(source)
    assert note == ""
    for got, want in zip(jax.tree.leaves(params), jax.tree.leaves(trained_encoders(home / "run1").params), strict=True):
        np.testing.assert_array_equal(got, want)


def test_weights_with_a_place_for_each_token_are_not_interpolated(first, home):
    encoders = trained_encoders(home / "run1")
    for changes in ({"token_recycling": True}, {"pooling": "all"}):
        bound = dataclasses.replace(encoders, config=dataclasses.replace(encoders.config, **changes))
        assert with_image_size(bound, 64) is bound


def test_a_resumed_run_needs_no_start(second, home):
    shutil.copytree(home / "run1", home / "gone")
    config = started(second, home / "gone")
    run.train(config, home / "kept")
    straight = encoders_of(home / "kept")
    newest = max((home / "kept" / "checkpoints").glob("[0-9]*"), key=lambda p: int(p.name))
    shutil.rmtree(newest)
    shutil.rmtree(home / "gone")
    evaluations = run.train(config, home / "kept")
    for got, want in zip(encoders_of(home / "kept"), straight, strict=True):
        np.testing.assert_array_equal(got, want)
    assert any("starts from" in note for note in evaluations[0].summary.notes)


def test_a_start_without_it_forgets_the_earlier_one(second, home, tmp_path):
    bad = dataclasses.replace(second, optim=dataclasses.replace(second.optim, schedule="cosine", warmup_steps=10**6))
    with pytest.raises(ValueError, match="warmup"):
        run.train(bad, tmp_path / "run")
    run.train(short(tiny_config(home / "second", home)), tmp_path / "run")
    assert Run(tmp_path / "run").start is None


def test_stage_2_takes_a_checkpoint_of_the_run(first, home, tmp_path):
    steps = Run(home / "run1").steps()
    config = started(first, home / "run1" / "checkpoints" / str(steps[-1]), trsm=TrsmConfig(enabled=True, heads=2))
    run.train(short(config), tmp_path / "run")
    with ocp.StandardCheckpointer() as checkpointer:
        kept = jax.tree.leaves(checkpointer.restore(tmp_path / "run" / "encoders"))
    theirs = trained_encoders(home / "run1", steps[-1])
    for got, want in zip(kept, jax.tree.leaves(theirs.params), strict=True):
        np.testing.assert_array_equal(got, want)
    start = Run(tmp_path / "run").start
    assert start is not None and (start.step, start.selection) == (steps[-1], "given by its step")


@pytest.mark.parametrize("start", ["run1", "exported"])
def test_stage_2_freezes_encoders_of_other_data(exported, second, home, tmp_path, start):
    del exported
    config = started(second, home / start, trsm=TrsmConfig(enabled=True, heads=2))
    evaluations = run.train(short(config), tmp_path / "stage2")
    assert any("test photos were trained on before" in note for note in evaluations[0].summary.notes)
    with ocp.StandardCheckpointer() as checkpointer:
        kept = jax.tree.leaves(checkpointer.restore(tmp_path / "stage2" / "encoders"))
    for got, want in zip(kept, jax.tree.leaves(trained_encoders(home / "run1").params), strict=True):
        np.testing.assert_array_equal(got, want)


def test_stage_2_on_data_that_changed_is_refused(first, home, tmp_path):
    """Some splits are those of the run and one is not, so this is not another set."""
    write_pairs(tmp_path / "changed", [*range(100, 143), 45, 47], range(144, 150))
    config = started(tiny_config(tmp_path / "changed", tmp_path), home / "run1", trsm=TrsmConfig(enabled=True, heads=2))
    with pytest.raises(ConfigError, match="the train split has other pictures than there"):
        run.train(config, tmp_path / "stage2")


def test_stage_2_on_the_same_photos_in_other_parts_is_refused(home, tmp_path):
    """Else it would be tested on photos that its encoders were trained on."""
    data = write_pairs(tmp_path / "whole", range(60), ())
    shutil.rmtree(data / "testA"), shutil.rmtree(data / "testB")
    config = tiny_config(data, tmp_path)
    run.train(short(config), tmp_path / "run")
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, split_seed=1))
    other = started(other, tmp_path / "run", trsm=TrsmConfig(enabled=True, heads=2))
    with pytest.raises(ConfigError, match=r"data\.split_seed: 0 there, 1 here"):
        run.train(other, tmp_path / "stage2")


def test_stage_2_needs_to_know_what_its_encoders_saw(first, second, home, tmp_path):
    shutil.copytree(home / "run1", tmp_path / "run")
    (tmp_path / "run" / "split.json").unlink()
    config = started(second, tmp_path / "run", trsm=TrsmConfig(enabled=True, heads=2))
    with pytest.raises(ConfigError, match=r"init_from=.*split\.json"):
        run.train(config, tmp_path / "stage2")


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("model", {"width": 32}, r"model\.width: 24 there, 32 here \(--config\.model\.width=24\)"),
        ("model", {"patch_size": 8}, r"model\.patch_size: 16 there, 8 here"),
        ("model", {"image_size": 64}, r"model\.image_size: 32 there, 64 here"),
        ("model", {"shared_encoders": True}, r"model\.shared_encoders: False there, True here"),
        ("model", {"embedding_size": 8}, r"model\.embedding_size: 16 there, 8 here"),
        ("data", {"mean": (0.5, 0.5, 0.5)}, r'data\.mean: \(0\.0, 0\.0, 0\.0\) there.*--config\.data\.mean="\(0\.0'),
        ("data", {"resample": "bicubic"}, r"data\.resample: 'bilinear' there, 'bicubic' here"),
    ],
)
@pytest.mark.parametrize("start", ["run1", "exported"])
def test_other_encoders_are_refused_with_the_flag_that_mends_it(
    second, exported, home, section, changes, message, start
):
    del exported
    other = dataclasses.replace(second, **{section: dataclasses.replace(getattr(second, section), **changes)})
    with pytest.raises(ConfigError, match=message):
        refuse_misfits(starting_encoders(str(home / start)), other)


def test_a_larger_image_interpolates_the_positions(second, home, tmp_path):
    larger = dataclasses.replace(second, model=dataclasses.replace(second.model, image_size=64))
    evaluations = run.train(short(larger), tmp_path / "run")
    theirs = trained_encoders(home / "run1").params["photo_encoder"]["backbone"]
    ours = trained_encoders(tmp_path / "run").params["photo_encoder"]["backbone"]
    assert theirs["pos_embed"].shape == (1, 5, 24) and ours["pos_embed"].shape == (1, 17, 24)
    np.testing.assert_array_equal(ours["pos_embed"][:, 0], theirs["pos_embed"][:, 0])
    for corner, patch in ((1, 1), (4, 2), (13, 3), (16, 4)):  # corners of the grid stay nearest to the old ones
        distances = np.abs(theirs["pos_embed"][0, 1:] - ours["pos_embed"][0, corner]).sum(-1)
        assert distances.argmin() == patch - 1
    np.testing.assert_array_equal(
        ours["blocks"][0]["mlp"]["fc1"]["kernel"], theirs["blocks"][0]["mlp"]["fc1"]["kernel"]
    )
    assert "Its positions were interpolated from images of 32 pixels." in evaluations[0].summary.notes


def test_a_refused_run_leaves_no_checkpoint(second, home, tmp_path):
    other = dataclasses.replace(second, model=dataclasses.replace(second.model, embedding_size=8))
    with pytest.raises(ConfigError, match=r"embedding_size: 16 there, 8 here"):
        run.train(other, tmp_path / "run")
    assert not Run(tmp_path / "run").steps() and Run(tmp_path / "run").start is None


def test_how_they_compute_may_differ(second, home, tmp_path):
    model = dataclasses.replace(second.model, dtype="bfloat16", remat=True, weights="auto")
    run.train(short(dataclasses.replace(second, model=model)), tmp_path / "run")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no run in"),
        (lambda path: path.mkdir(), "has no checkpoint of a run"),
        (lambda path: path.write_bytes(b"x"), r"start"),
    ],
)
def test_what_is_no_start_is_refused(tmp_path, make, message):
    make(tmp_path / "start")
    with pytest.raises(ConfigError, match=message):
        starting_encoders(str(tmp_path / "start"))


def test_files_of_weights_and_halves_of_an_export_are_refused(exported, tmp_path):
    (tmp_path / "half").mkdir()
    shutil.copy(exported / "sketch.safetensors", tmp_path / "half")
    with pytest.raises(ConfigError, match=r"must hold one .* for sketches and one for photos"):
        starting_encoders(str(tmp_path / "half"))
    with pytest.raises(ConfigError, match="holds the sketch encoder alone; give the folder that holds both"):
        starting_encoders(str(exported / "sketch.safetensors"))
    save_file(load_file(exported / "photo.safetensors"), tmp_path / "foreign.safetensors")
    with pytest.raises(ConfigError, match=r"not written by effnet-jax export; give files of weights as"):
        starting_encoders(str(tmp_path / "foreign.safetensors"))


def test_a_damaged_start_is_refused(home, first, tmp_path):
    shutil.copytree(home / "run1", tmp_path / "start")
    folder = Run(tmp_path / "start").checkpoint("best").folder
    largest = max(folder.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    largest.write_bytes(largest.read_bytes()[:-8] + bytes(8))
    with pytest.raises(ConfigError, match=rf"(?s)is damaged.*{largest.name} has other content"):
        starting_encoders(str(tmp_path / "start"))
