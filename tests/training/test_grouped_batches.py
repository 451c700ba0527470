"""Runs whose batches are grouped: by the encoder that they begin with, the same when resumed, in both stages."""

import dataclasses
import shutil

import numpy as np
import pytest
from commands import run_program
from made_runs import newest_state
from tiny import tiny_config, write_pairs

from effnet_jax import run
from effnet_jax.config import ConfigError, TrsmConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.data.cache import cached_images
from effnet_jax.data.loading import load_splits
from effnet_jax.data.mining import nearest_photos
from effnet_jax.runs.folder import Run, trained_encoders
from effnet_jax.stages import stage


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("grouped")


@pytest.fixture(scope="module")
def config(home):
    config = tiny_config(write_pairs(home / "pairs", range(44), range(44, 52)), home)
    return dataclasses.replace(config, train=dataclasses.replace(config.train, group=4))


@pytest.fixture(scope="module")
def trained(config, home):
    return run.train(config, home / "run")


def test_a_resumed_run_ends_in_the_same_bits(trained, config, home):
    shutil.copytree(home / "run", home / "again")
    newest, straight = newest_state(home / "again")
    shutil.rmtree(newest)
    run.train(config, home / "again")
    for got, want in zip(newest_state(home / "again")[1], straight, strict=True):
        np.testing.assert_array_equal(got, want)
    plain = dataclasses.replace(config, train=dataclasses.replace(config.train, group=0))
    run.train(plain, home / "plain")
    assert any((a != b).any() for a, b in zip(newest_state(home / "plain")[1], straight, strict=True))


def test_without_its_neighbours_a_run_does_not_go_on(trained, config, home):
    for damage in ("gone", "cut"):
        shutil.copytree(home / "run", home / damage)
        shutil.rmtree(newest_state(home / damage)[0])
        file = Run(home / damage).neighbours_file
        content = file.read_bytes()
        file.unlink()
        if damage == "cut":
            file.write_bytes(content[:-20])
        with pytest.raises(ConfigError, match=r"neighbours\.npy is gone or damaged.*bring it back"):
            run.train(config, home / damage)


def test_stage_2_groups_by_its_frozen_encoders(trained, config, home, monkeypatch):
    seen = []
    monkeypatch.setattr(stage, "nearest_photos", lambda rows, count: seen.append(rows) or nearest_photos(rows, count))
    second = dataclasses.replace(config, init_from=str(home / "run"), trsm=TrsmConfig(enabled=True, heads=2))
    run.train(second, home / "stage2")
    pictures = cached_images(load_splits(second)["train"], (32,), mode="ram").photos(32)[:]
    expected = trained_encoders(home / "stage2").embed_photos(pictures)
    np.testing.assert_allclose(seen[0], expected, atol=1e-6)
    assert np.abs(expected - expected.mean(0)).max() > 1e-4  # else any photo would do
    np.testing.assert_array_equal(Run(home / "stage2").read_neighbours(), nearest_photos(seen[0], 16))


@pytest.mark.parametrize("group", [1, -2, 9])
def test_groups_that_cannot_be_are_refused(group):
    with pytest.raises(ConfigError, match=rf"train\.group={group} must be 0, or 2\.\.8, the sketches of a batch"):
        from_mapping({"train": {"group": group, "batch_size": 8}})
    with pytest.raises(ConfigError, match=r"must be 0, or 2\.\.6, the sketches of a batch"):
        from_mapping({"train": {"group": 7, "batch_size": 8}, "data": {"unpaired_photos": "x", "unpaired_share": 0.25}})
    published = {"token_recycling": True, "recycling_as_published": True}
    with pytest.raises(ConfigError, match=r"train\.group compares embeddings"):
        from_mapping({"train": {"group": 4, "batch_size": 8}, "model": published})


def test_on_devices_that_share_the_parameters(tmp_path):
    """Weights that are cut over devices are looked at whole: for neighbours, for means, and for chosen weights."""
    write_pairs(tmp_path / "pairs", range(44), range(44, 52))
    program = """
        import dataclasses, sys
        from pathlib import Path
        sys.path.insert(0, "tests")
        from tiny import tiny_config
        from effnet_jax import run
        from effnet_jax.config import ParallelConfig, TrsmConfig
        home = Path(sys.argv[1])
        config = tiny_config(home / "pairs", home, width=64)
        data = dataclasses.replace(config.data, validation_share=0.5)
        late = dataclasses.replace(config.late, choose_weight=True)
        grouped = dataclasses.replace(config.train, group=4, max_steps=2)
        config = dataclasses.replace(config, data=data, late=late, parallel=ParallelConfig(fsdp=True), train=grouped)
        centred = dataclasses.replace(config, train=dataclasses.replace(grouped, centring=True))
        run.train(centred, home / "centred")
        run.train(config, home / "stage1")
        trsm = TrsmConfig(enabled=True, heads=2, choose_weight=True)
        run.train(dataclasses.replace(config, init_from=str(home / "stage1"), trsm=trsm), home / "stage2")
    """
    run_program(program, str(tmp_path), devices=2)
    assert Run(tmp_path / "stage2").steps() == Run(tmp_path / "centred").steps() == [2]
