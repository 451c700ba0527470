"""Domain centring: the same in evaluation, checkpoint, index and artefact, and from training pictures alone."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from jax import export
from tiny import tiny_config, write_pairs

from effnet_jax import run
from effnet_jax.catalogue.build import build_catalogue
from effnet_jax.catalogue.catalogue import Catalogue
from effnet_jax.config import ConfigError, TrsmConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.data.cache import cached_images
from effnet_jax.data.loading import load_splits
from effnet_jax.encoders.artefacts import export_encoders, one_by_one
from effnet_jax.encoders.exported import read_exported
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.retrieval.scores import unit_rows
from effnet_jax.runs.folder import Run, trained_encoders


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("centring")


@pytest.fixture(scope="module")
def config(home):
    config = tiny_config(write_pairs(home / "pairs", range(44), range(44, 60)), home, shared_encoders=True)
    return dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, centring=True),
        eval=dataclasses.replace(config.eval, protocols=("encoder", "late")),
    )


@pytest.fixture(scope="module")
def trained(config, home):
    return {e.protocol: e for e in run.train(config, home / "run") if "last" in e.chosen_as}


@pytest.fixture(scope="module")
def pictures(config):
    splits = load_splits(config)
    return splits, {name: cached_images(split, (32,), mode="ram") for name, split in splits.items()}


def plain(encoders):
    return dataclasses.replace(encoders, centres={})


def test_scores_are_cosines_of_what_is_left(trained, pictures, home):
    splits, images = pictures
    encoders = trained_encoders(home / "run", "last")
    bare = plain(encoders)
    means = {
        "sketch": bare.embed_sketches(images["train"].sketches(32)[:]).mean(0),
        "photo": bare.embed_photos(images["train"].photos(32)[:]).mean(0),
    }
    for domain, mean in means.items():
        np.testing.assert_allclose(encoders.centres[domain], mean, atol=1e-6)
    s = bare.embed_sketches(images["test"].sketches(32)[:]) - means["sketch"]
    p = bare.embed_photos(images["test"].photos(32)[:]) - means["photo"]
    expected = rank_gallery(s, p, splits["test"].photo_index)
    saved = Run(home / "run").embeddings("last")
    np.testing.assert_allclose(saved.sketches, unit_rows(s), atol=1e-4)
    np.testing.assert_array_equal(Run(home / "run").ranks("last").better, expected.better)
    without = rank_gallery(s + means["sketch"], p + means["photo"], splits["test"].photo_index)
    assert (expected.better != without.better).any()
    np.testing.assert_allclose(encoders.embed_sketches(images["test"].sketches(32)[:]), unit_rows(s), atol=1e-5)


def test_an_index_is_centred_and_knows_it(trained, pictures, home):
    encoders = trained_encoders(home / "run", "last")
    assert encoders.fingerprint != plain(encoders).fingerprint
    build_catalogue([home / "pairs" / "testB"], home / "index", encoders)
    catalogue = Catalogue.open(home / "index")
    for domain, mean in encoders.centres.items():
        np.testing.assert_array_equal(catalogue.encoders.centres[domain], mean)
    _, images = pictures
    expected = encoders.embed_photos(images["test"].photos(32)[:])
    np.testing.assert_allclose(np.asarray(catalogue.embeddings, np.float32), expected, atol=2e-3)


def test_artefacts_are_centred_and_files_of_weights_say_what_to_take_off(trained, pictures, home):
    _, images = pictures
    encoders = trained_encoders(home / "run", "last")
    about = export_encoders(one_by_one(encoders), home / "out")
    rows = {"sketch": images["test"].sketches(32)[:], "photo": images["test"].photos(32)[:]}
    for domain, pixels in rows.items():
        embed = export.deserialize(bytearray((home / "out" / f"{domain}.stablehlo").read_bytes())).call
        expected = encoders.embed_sketches(pixels) if domain == "sketch" else encoders.embed_photos(pixels)
        np.testing.assert_allclose(unit_rows(np.asarray(embed(pixels))), expected, atol=1e-5)
        entry = about["files"][f"{domain}.safetensors"]
        np.testing.assert_allclose(entry["take_off_the_unit_embedding"], encoders.centres[domain])
    again = read_exported(home / "out")
    for domain, mean in encoders.centres.items():
        np.testing.assert_array_equal(again.centres[domain], mean)
    for got, want in zip(jax.tree.leaves(again.params), jax.tree.leaves(encoders.params), strict=True):
        np.testing.assert_array_equal(got, want)


def test_test_pictures_play_no_part(trained, config, home):
    shutil.copytree(home / "pairs", home / "fewer")
    for path in sorted((home / "fewer" / "testA").iterdir())[:8]:
        path.unlink()
    fewer = dataclasses.replace(config, data=dataclasses.replace(config.data, dir=str(home / "fewer")))
    run.train(fewer, home / "run_fewer")
    for domain, mean in trained_encoders(home / "run_fewer", "last").centres.items():
        np.testing.assert_array_equal(mean, trained_encoders(home / "run", "last").centres[domain])


def test_a_resumed_run_centres_alike(trained, config, home):
    shutil.copytree(home / "run", home / "again")
    last = Run(home / "again").steps()[-1]
    shutil.rmtree(home / "again" / "checkpoints" / str(last))
    again = {e.protocol: e for e in run.train(config, home / "again") if "last" in e.chosen_as}
    assert {p: e.summary.mrr for p, e in again.items()} == {p: e.summary.mrr for p, e in trained.items()}
    about = [json.loads((home / name / "checkpoints" / str(last) / "about" / "metadata").read_text())
             for name in ("run", "again")]  # fmt: skip
    assert about[0]["centres"] == about[1]["centres"]


def test_stage_2_and_centring_are_refused_together(trained, config, home, tmp_path):
    second = dataclasses.replace(
        config,
        init_from=str(home / "run"),
        trsm=TrsmConfig(enabled=True, heads=2),
        train=dataclasses.replace(config.train, centring=False),
    )
    with pytest.raises(ConfigError, match=r"was trained with train\.centring, and TRSM scores pairs by their tokens"):
        run.train(second, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"was trained with train\.centring, and TRSM scores pairs by their tokens"):
        run.train(dataclasses.replace(second, init_from=str(home / "out")), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"with model\.recycling_as_published these depend on the batch"):
        from_mapping({"train": {"centring": True}, "model": {"token_recycling": True, "recycling_as_published": True}})
    with pytest.raises(ConfigError, match=r"train\.centring takes means off embeddings"):
        from_mapping({"init_from": "runs/x", "trsm": {"enabled": True}, "train": {"centring": True}})
