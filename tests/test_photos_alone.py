"""Training without a sketch, and with photos beside sketches: through the real loop, to a catalogue, and resumed."""

import contextlib
import csv
import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tiny import draw_pair, tiny_config, write_pairs, write_photos

from effnet_jax import run
from effnet_jax.catalogue.build import build_catalogue
from effnet_jax.catalogue.catalogue import Catalogue
from effnet_jax.cli.program import main
from effnet_jax.config import Config, ConfigError, TrsmConfig
from effnet_jax.config_reader import from_mapping
from effnet_jax.data.loading import load_splits
from effnet_jax.figures.training_curves import read_scalars
from effnet_jax.runs.folder import trained_encoders
from effnet_jax.stages.alignment.alignment_stage import AlignmentStage


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("photos_alone")


@pytest.fixture(scope="module")
def photos(home):
    write_photos(home / "photos", range(100, 150))
    return home / "photos"


def with_photos(config: Config, photos, home, **data) -> Config:
    changes = {"unpaired_photos": str(photos), "cache_dir": str(home / "cache")} | data
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **changes))


@pytest.fixture(scope="module")
def alone(photos, home):
    """A run on photos alone."""
    config = with_photos(tiny_config(home, home), photos, home, name="photos", dir="", validation_share=0.0)
    return config, run.train(config, home / "alone")


@pytest.fixture(scope="module")
def pairs(home):
    return write_pairs(home / "pairs", range(44), range(44, 52))


@pytest.fixture(scope="module")
def mixed(pairs, photos, home):
    """A run on pairs and photos."""
    config = with_photos(tiny_config(pairs, home), photos, home)
    return config, run.train(config, home / "mixed")


def scalars(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {name for line in lines for name in line}


def saved(workdir):
    newest = max((p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    with ocp.StandardCheckpointer() as checkpointer:
        return int(newest.name), jax.tree.leaves(checkpointer.restore(newest / "state"))


def test_photos_are_divided_and_the_figures_are_named_drawn(alone, home):
    config, (evaluation,) = alone
    assert evaluation.split == "drawn"
    assert (evaluation.summary.queries, evaluation.summary.gallery) == (20, 20)
    splits = load_splits(config)
    assert {name: len(split.photo_ids) for name, split in splits.items()} == {"train": 30, "test": 20}
    assert not set(splits["train"].photo_ids) & set(splits["test"].photo_ids)
    metrics = json.loads((home / "alone" / "metrics.json").read_text())
    assert [result["split"] for result in metrics["results"]] == ["drawn"]


def test_an_epoch_is_a_pass_over_the_photos(alone, home):
    assert saved(home / "alone")[0] == round(2 * 30 / 8)


def test_a_run_ends_at_its_limit_of_steps(alone, home):
    config, _ = alone
    run.train(dataclasses.replace(config, train=dataclasses.replace(config.train, max_steps=3)), home / "limited")
    assert saved(home / "limited")[0] == 3


def test_photos_alone_become_a_catalogue(alone, photos, home):
    build_catalogue([photos], home / "index", trained_encoders(home / "alone"))
    hits = Catalogue.open(home / "index").search(np.asarray(draw_pair(104)[1].convert("RGB")), top=50)
    assert {Path(hit.path).parent for hit in hits} == {photos} and len(hits) == 50


def test_stage_2_learns_pairs_of_photos_that_the_encoders_were_trained_on(alone, home, tmp_path):
    """As of one's own catalogue; those in the test are named."""
    del alone
    config = tiny_config(write_pairs(tmp_path / "pairs", range(100, 144), range(144, 150)), home)
    config = dataclasses.replace(config, init_from=str(home / "alone"), trsm=TrsmConfig(enabled=True, heads=2))
    (evaluation, *_) = run.train(config, tmp_path / "stage2")
    assert any(" of the 6 test photos were trained on before" in note for note in evaluation.summary.notes)


def test_report_figures_and_comparison_know_drawings(alone, home, capsys, monkeypatch):
    for arguments in (["report", home / "alone"], ["compare", home / "alone", home / "alone"]):
        monkeypatch.setattr("sys.argv", ["effnet-jax", *map(str, arguments)])
        with contextlib.suppress(SystemExit):
            main()
        assert "error" not in capsys.readouterr().err
    page = (home / "alone" / "report.html").read_text()
    assert "20 photos of the drawn split" in re.sub("<[^>]*>", "", page)


@pytest.mark.parametrize("name", ["alone", "mixed"])
def test_a_resumed_run_ends_in_the_same_bits(alone, mixed, home, name):
    config, again = {"alone": alone, "mixed": mixed}[name][0], home / f"{name}_again"
    shutil.copytree(home / name, again)
    step, straight = saved(again)
    shutil.rmtree(again / "checkpoints" / str(step))
    assert 0 < saved(again)[0] < step
    run.train(config, again)
    assert saved(again)[0] == step
    for got, want in zip(saved(again)[1], straight, strict=True):
        np.testing.assert_array_equal(got, want)


def test_figures_of_a_mixed_run_are_on_real_sketches(mixed, home):
    _, evaluations = mixed
    assert {evaluation.split for evaluation in evaluations} == {"test"}
    assert {evaluation.summary.gallery for evaluation in evaluations} == {8}
    measured = {name for name in scalars(home / "mixed") if name.startswith("eval/")}
    assert "eval/validation/mrr" in measured and not any("drawn" in name for name in measured)


def test_a_report_on_held_out_photos_never_looks_at_the_test_set(mixed, home, monkeypatch):
    config, _ = mixed
    asked = []
    real = AlignmentStage.rank
    monkeypatch.setattr(AlignmentStage, "rank", lambda *args: asked.append(args[2]) or real(*args))
    held_out = dataclasses.replace(config, eval=dataclasses.replace(config.eval, split="validation"))
    (evaluation,) = run.train(held_out, home / "held_out")
    assert set(asked) == {"validation"} and evaluation.chosen_as == ("last",)
    assert (evaluation.split, evaluation.summary.gallery) == ("validation", 20)
    measured = [line for line in read_scalars(home / "held_out" / "metrics.jsonl")["eval/validation/mrr"][1]]
    assert abs(100 * evaluation.summary.mrr.value - measured[-1]) < 1e-3
    nothing = dataclasses.replace(held_out, data=dataclasses.replace(config.data, validation_share=0.0))
    with pytest.raises(ConfigError, match=r"eval\.split='validation' needs held-out photos"):
        from_mapping(nothing)


def test_an_epoch_of_a_mixed_run_is_a_pass_over_the_sketches(mixed, home):
    config, _ = mixed
    sketches = len(load_splits(config)["train"].sketch_ids)
    assert saved(home / "mixed")[0] == round(2 * sketches / 4)  # the other 4 of 8 rows are drawings


def test_unpaired_photos_change_what_is_learned(mixed, pairs, home):
    config, _ = mixed
    plain = dataclasses.replace(config, data=dataclasses.replace(config.data, unpaired_photos=""))
    run.train(plain, home / "plain")
    assert any((a != b).any() for a, b in zip(saved(home / "plain")[1], saved(home / "mixed")[1], strict=True))


def test_stage_2_takes_photos_too(mixed, home):
    config, _ = mixed
    second = dataclasses.replace(
        config,
        init_from=str(home / "mixed"),
        trsm=TrsmConfig(enabled=True, heads=2),
        eval=dataclasses.replace(config.eval, protocols=("encoder", "all_pairs")),
    )
    evaluations = run.train(second, home / "mixed_trsm")
    assert {evaluation.protocol for evaluation in evaluations} == {"encoder", "all_pairs"}


def test_stage_2_on_photos_alone(alone, home):
    config, _ = alone
    second = dataclasses.replace(config, init_from=str(home / "alone"), trsm=TrsmConfig(enabled=True, heads=2))
    assert {evaluation.split for evaluation in run.train(second, home / "alone_trsm")} == {"drawn"}


def test_drawings_among_real_sketches_are_trained_on_and_not_measured(home, caplog):
    root = write_pairs(home / "some", range(50), range(50, 58))
    for part in ("train", "test"):
        for sketch in sorted((root / f"{part}A").iterdir()):
            if sketch.stem.endswith("_02"):
                sketch.rename(sketch.with_name(sketch.name.replace("_02.png", "_drawn1.png")))
    with caplog.at_level(logging.WARNING):
        splits = load_splits(tiny_config(root, home))
    assert "test: 4 of its 12 sketches are drawings made from photos, and are left out of its figures" in caplog.text
    tags = {name: set(split.tags) for name, split in splits.items()}
    assert tags == {"train": {"01", "drawn1"}, "validation": {"01"}, "test": {"01"}}
    assert len(splits["test"].photo_ids) == 8


def test_test_photos_never_train(pairs, photos, home, caplog):
    (home / "leaking").mkdir()
    for source in (*sorted(photos.iterdir())[:12], pairs / "testB" / "item_045.png"):
        (home / "leaking" / source.name).write_bytes(source.read_bytes())
    with caplog.at_level(logging.WARNING):
        splits = load_splits(with_photos(tiny_config(pairs, home), home / "leaking", home))
    assert len(splits["unpaired"].photo_ids) == 12
    assert "1 photos of leaking are also test photos of" in caplog.text


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (39, "39 photos that can be drawn; training on photos alone needs 40, of which 20 are held out"),
        (0, "needs a folder of photos: --config.data.unpaired_photos=FOLDER"),
    ],
)
def test_too_few_photos_say_what_to_do(home, tmp_path, count, message):
    folder = tmp_path / "few"
    write_photos(folder, range(count))
    config = with_photos(tiny_config(home, home), folder if count else "", home, name="photos", dir="")
    with pytest.raises(ConfigError, match=message):
        run.train(config, tmp_path / "run")


def test_a_share_that_a_batch_cannot_hold_is_refused(pairs, home, tmp_path):
    write_photos(tmp_path / "few", range(200, 205))
    config = with_photos(tiny_config(pairs, home), tmp_path / "few", home, unpaired_share=0.9)
    with pytest.raises(ConfigError, match=r"takes 7\.2 for each batch, which is more than the 5 unpaired photos"):
        run.train(config, tmp_path / "run")


def test_ranks_are_listed_by_photo(alone, home):
    with (home / "alone" / "last" / "ranks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and all(row["sketch_id"].endswith(".png_drawn") for row in rows)
