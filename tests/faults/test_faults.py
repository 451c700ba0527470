"""A run whose checkpoints are damaged, removed or cannot be written: what it says, and what it goes on from."""

import json
import logging
import shutil

import jax
import numpy as np
import pytest
from commands import finish, saved_steps, settings_of, start, train_here
from tiny import write_pairs

from effnet_jax import run
from effnet_jax.config_reader import from_mapping


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def settings(home):
    data = write_pairs(home / "data", range(24), range(24, 38))
    return settings_of(
        data, home, train__epochs=24 * 8 / 36, train__checkpoint_every_steps=8, optim__warmup_steps=2,
        train__keep_checkpoints=5,
    )  # fmt: skip


@pytest.fixture(scope="module")
def straight(home, settings):
    train_here(home / "straight", settings)
    assert saved_steps(home / "straight") == [8, 16, 24]
    return home / "straight"


def copy(straight, to, *, up_to):
    shutil.copytree(straight, to)
    for step in saved_steps(to):
        if step > up_to:
            shutil.rmtree(to / "checkpoints" / str(step))
    return to


def check_same_end(workdir, straight):
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        ours, theirs = (checkpointer.restore(w / "checkpoints" / "24" / "state") for w in (workdir, straight))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_a_full_disk_ends_the_run_with_a_sentence_and_the_next_start_goes_on(straight, settings, tmp_path):
    workdir = copy(straight, tmp_path / "run", up_to=8)
    ((status, _, words),) = finish(start(workdir, settings, limit=30_000))
    assert status == 1, words
    assert "the checkpoint of step 16 could not be written" in words
    assert "File too large" in words
    assert "the newest one on disk is that of step 8. Make room" in words
    assert words.rstrip().endswith("then start the same command again.")
    assert "Traceback" not in words
    assert "Event loop" not in words
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["8"]
    train_here(workdir, settings)
    check_same_end(workdir, straight)


def test_a_full_disk_while_the_data_set_is_built_ends_with_a_sentence(straight, settings, tmp_path):
    elsewhere = settings | {"data.tfds_dir": tmp_path / "tfds"}
    ((status, _, words),) = finish(start(tmp_path / "run", elsewhere, limit=30_000))
    assert status == 1, words
    assert f"sketch_photo_folder could not be written to {tmp_path}" in words
    assert "File too large" in words
    assert "Traceback" not in words
    assert not [p for p in (tmp_path / "tfds").rglob("*") if p.is_file() and not p.name.endswith(".lock")]


def test_a_damaged_newest_checkpoint_is_passed_over_in_reports_and_in_training(straight, settings, tmp_path, caplog):
    workdir = copy(straight, tmp_path / "run", up_to=16)
    array = max((workdir / "checkpoints" / "16" / "state").rglob("*"), key=lambda p: p.stat().st_size)
    array.write_bytes(array.read_bytes()[:-100])
    config = from_mapping(json.loads((workdir / "config.json").read_text()))
    (evaluation,) = run.evaluate(config, workdir)
    assert evaluation.step == 8
    assert "checkpoints/16 is damaged and not used" in caplog.text
    assert saved_steps(workdir) == [8, 16]  # a report renames nothing
    train_here(workdir, settings)
    assert "going on from step 8" in caplog.text
    assert saved_steps(workdir) == [8, 16, 24]
    check_same_end(workdir, straight)


@pytest.mark.slow
def test_checkpoints_that_are_gone_are_missed(straight, settings, tmp_path, caplog):
    workdir = copy(straight, tmp_path / "run", up_to=0)
    shutil.rmtree(workdir / "checkpoints")
    with caplog.at_level(logging.WARNING):
        train_here(workdir, settings)
    assert "was started before, but holds no checkpoint; starting anew" in caplog.text
    check_same_end(workdir, straight)
