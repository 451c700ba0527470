"""embed, search and export-index as a shell runs them, on a trained run."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from effnet_jax.catalogue.catalogue import Catalogue
from effnet_jax.figures.all_figures import FIGURES
from effnet_jax.figures.evaluated import read_evaluated


@pytest.fixture(scope="module")
def index(trained):
    return trained.parent / "index"


@pytest.fixture(autouse=True, scope="module")
def built(index, trained):
    from effnet_jax.catalogue.build import build_catalogue
    from effnet_jax.runs.folder import trained_encoders

    build_catalogue([trained.parent / "data" / "testB"], index, trained_encoders(trained))


def test_embed_builds_says_what_it_did_and_repeats(command, trained, tmp_path):
    photos = trained.parent / "data" / "testB"
    status, out, _ = command("embed", photos, "--checkpoint", trained, "--out", tmp_path / "index")
    assert status == 0
    assert "12 photos; 12 added, 0 removed" in out
    status, out, _ = command("embed", "--out", tmp_path / "index", "--json")
    assert status == 0
    assert json.loads(out)["embedded"] == 0


def test_embed_lists_what_it_cannot_read_and_exits_with_one(command, trained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "good.png").write_bytes(next((trained.parent / "data" / "testB").iterdir()).read_bytes())
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    (tmp_path / "photos" / "list.csv").write_text("1,2")
    status, out, err = command("embed", tmp_path / "photos", "--checkpoint", trained, "--out", tmp_path / "index")
    assert status == 1
    assert "1 photos; 1 added" in out
    assert "passed over: 1 file with .csv" in out
    assert f"{tmp_path / 'photos' / 'bad.jpg'}: not an image" in err
    assert len(Catalogue.open(tmp_path / "index")) == 1


def test_search_finds_what_the_evaluation_found(command, trained, index):
    """The index ranks the test gallery as the report of the run does."""
    results = read_evaluated(trained)
    sketches = trained.parent / "data" / "testA"
    status, out, _ = command("search", sketches, "--index", index, "--top", "3", "--json")
    assert status == 0
    content = json.loads(out)
    assert content["photos"] == 12
    assert content["unreadable"] == []
    assert content["options"] == {"top": 3, "clean": False, "rerank": False, "shortlist": None}
    found = {os.path.basename(q["sketch"])[:-4]: q["hits"] for q in content["queries"]}
    assert found.keys() == set(results.saved.sketch_ids)
    for i, sketch in enumerate(results.saved.sketch_ids):
        scores = [hit["score"] for hit in found[sketch]]
        np.testing.assert_allclose(scores, results.ranking.top_score[i, :3], atol=2e-3)  # stored as float16
        if np.diff(results.ranking.top_score[i, :4]).max() < -5e-3:  # apart by more than the rounding
            names = [os.path.basename(hit["path"])[:-4] for hit in found[sketch]]
            assert names == [results.photo_ids[j] for j in results.ranking.top_index[i, :3]]


def test_search_prints_whole_paths_and_writes_a_page(command, trained, index, tmp_path):
    sketch = next((trained.parent / "data" / "testA").iterdir())
    status, out, err = command("search", sketch, "--index", index, "--clean", "--html", tmp_path / "found.html")
    assert status == 0, err
    printed = "".join(out.split())  # a long path goes on in the next line
    shown = [path for path in (trained.parent / "data" / "testB").iterdir() if "".join(str(path).split()) in printed]
    assert len(shown) == 10
    assert "rank" in out
    page = (tmp_path / "found.html").read_text()
    assert page.count("data:image/jpeg") == 11
    assert "The sketches were cleaned first" in page
    assert not list(tmp_path.glob(".*"))


def test_many_sketches_are_searched_in_batches(command, trained, index, monkeypatch):
    sketches = trained.parent / "data" / "testA"
    whole = json.loads(command("search", sketches, "--index", index, "--json")[1])["queries"]
    monkeypatch.setattr("effnet_jax.cli.search.BATCH", 5)
    cut = json.loads(command("search", sketches, "--index", index, "--json")[1])["queries"]
    assert [[hit["path"] for hit in q["hits"]] for q in cut] == [[hit["path"] for hit in q["hits"]] for q in whole]
    assert [q["sketch"] for q in cut] == [q["sketch"] for q in whole]


def test_search_says_what_moved_and_what_it_cannot_read(command, trained, tmp_path):
    source = sorted((trained.parent / "data" / "testB").iterdir())[:3]
    (tmp_path / "photos").mkdir()
    for path in source:
        (tmp_path / "photos" / path.name).write_bytes(path.read_bytes())
    command("embed", tmp_path / "photos", "--checkpoint", trained, "--out", tmp_path / "index")
    (tmp_path / "photos" / source[0].name).unlink()
    (tmp_path / "bad.png").write_text("x")
    sketch = next((trained.parent / "data" / "testA").iterdir())
    status, out, err = command("search", sketch, "/no.png", tmp_path / "bad.png", "--index", tmp_path / "index")
    assert status == 1
    assert "could not be read: /no.png: no such file or folder" in err
    assert "(missing)" in out
    assert f"missing since it was embedded: {tmp_path / 'photos' / source[0].name}" in err
    assert f"could not be read: {tmp_path / 'bad.png'}: not an image" in err


def test_search_with_nothing_that_can_be_read(command, index, tmp_path):
    (tmp_path / "bad.png").write_text("x")
    status, out, err = command("search", tmp_path / "bad.png", "/no.png", "--index", index, "--json")
    assert status == 1
    assert json.loads(out)["queries"] == []
    assert "not one sketch to search with" in err


def test_export_index(command, index, tmp_path):
    status, out, _ = command("export-index", index, tmp_path / "x.npz")
    assert status == 0
    assert "12 photos, 16 numbers each, float32" in out
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert file["embeddings"].shape == (12, 16)
    status, out, _ = command("export-index", index, tmp_path / "x.npz", "--json")
    said = {"file": str(tmp_path / "x.npz"), "photos": 12, "width": 16, "dtype": "float32"}
    assert (status, json.loads(out)) == (0, said)


def test_report_as_json(command, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("effnet_jax.figures.all_figures.FIGURES", {"accuracy": FIGURES["accuracy"]})
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    status, out, err = command("report", run, "--json")
    said = json.loads(out)
    assert (status, err, said["report"], said["notes"]) == (0, "", str(run / "report.html"), [])
    assert [figure["figure"] for figure in said["figures"]] == ["accuracy"]
    assert (run / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["search", "x.png", "--index", "/nowhere"], 1, "there is no index in"),
        (["search", "."], 2, "--index"),
        (["embed", "/nowhere", "--out", "{tmp}/i"], 1, "there is no index in"),
        (["embed", "/nowhere", "--checkpoint", "/nowhere", "--out", "{tmp}/i"], 1, "there is no run in /nowhere"),
        (
            ["embed", "{tmp}", "--checkpoint", "{tmp}", "--out", "{tmp}/i"],
            1,
            "has no checkpoint of a run (a step in checkpoints/)",
        ),
        (["embed", "{tmp}", "--out", "{tmp}/i", "--batch-size", "0"], 2, "batch-size"),
        (["export-index", "{tmp}", "{tmp}/x.npz"], 1, "there is no index"),
        (["figures", "{tmp}"], 1, "has no metrics.json"),
        (["report", "{tmp}"], 1, "has no metrics.json"),
    ],
)
def test_mistakes_get_a_sentence(command, tmp_path, arguments, status, words):
    got, out, err = command(*(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))
    assert got == status
    assert words in " ".join((out + err).split())
    assert "Traceback" not in out + err


@pytest.mark.parametrize("name", ["embed", "search", "export-index", "figures", "report"])
def test_help_has_examples(command, name):
    status, out, _ = command(name, "--help")
    assert status == 0
    assert f"effnet-jax {name}" in out


def test_help_is_instant():
    code = "import effnet_jax.cli.program, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jax", "flax", "numpy", "PIL", "matplotlib", "sklearn"} & set(loaded)
