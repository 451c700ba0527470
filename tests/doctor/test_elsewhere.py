"""Test photos among those that are trained on before or beside."""

import io
import json

import corpus
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from effnet_jax.cli.program import app
from effnet_jax.doctor import duplicates, examine, list_folder
from effnet_jax.doctor.elsewhere import list_photos

FILES = corpus.base()


@pytest.fixture
def data(tmp_path):
    return corpus.write(tmp_path / "data", FILES)


@pytest.fixture
def photos(tmp_path):
    """Photos of other things, one that is a test photo, one that nearly is, and one of the training part."""
    test = sorted(name for name in FILES if name.startswith("testB/"))
    train = sorted(name for name in FILES if name.startswith("trainB/") and name.endswith(".jpg"))
    with Image.open(io.BytesIO(FILES[test[1]])) as opened:
        again = corpus.jpeg(opened.convert("RGB"), quality=60)
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for seed in range(900, 906):
        (folder / f"{seed}.jpg").write_bytes(corpus.jpeg(corpus.photo(seed)))
    (folder / "deep" / "copy.jpg").write_bytes(FILES[test[0]])
    (folder / "again.jpg").write_bytes(again)
    (folder / "known.jpg").write_bytes(FILES[train[0]])
    (folder / "cut.jpg").write_bytes(FILES[test[0]][:100])
    (folder / "phone.heic").write_bytes(b"x")
    return folder, test


def found(data, photos):
    report = examine(list_folder(data), elsewhere=list_photos(photos)).report
    kinds = ("test photo elsewhere", "alike elsewhere", "not compared")
    return {(finding.kind, finding.files): finding for finding in report.findings if finding.kind in kinds}


def test_copies_and_near_copies_of_test_photos_are_named_and_no_others(data, photos):
    folder, test = photos
    findings = found(data, folder)
    assert set(findings) == {
        ("test photo elsewhere", (test[0], str(folder / "deep" / "copy.jpg"))),
        ("alike elsewhere", (test[1], str(folder / "again.jpg"))),
        ("not compared", (str(folder / "cut.jpg"), str(folder / "phone.heic"))),
    }
    assert "% alike" in findings["alike elsewhere", (test[1], str(folder / "again.jpg"))].detail


def test_a_folder_without_a_test_part_is_looked_at_whole(tmp_path, photos):
    folder, _ = photos
    train = {name: content for name, content in FILES.items() if name.startswith("train")}
    data = corpus.write(tmp_path / "train_only", train)
    for empty in ("testA", "testB"):
        (data / empty).rmdir()
    copied = {files[1] for kind, files in found(data, folder) if kind != "not compared"}
    assert copied == {str(folder / "known.jpg")}


def test_pairs_between_two_sets_are_those_of_both_together(monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK", 4)
    rng = np.random.default_rng(0)
    views = rng.integers(0, 256, (13, 2, 64, 64), np.uint8)
    views[9], views[3], views[12] = views[2], views[1], views[2, :, :, ::-1]
    every = duplicates.alike_pairs(views)
    assert [pair[:2] for pair in every] == [(1, 3), (2, 9), (2, 12), (9, 12)]
    for first in (2, 3, 5, 12):
        expected = [pair for pair in every if pair[0] < first <= pair[1]]
        assert duplicates.alike_pairs(views, between=first) == expected


def run(*arguments):
    return CliRunner().invoke(app, ["check-data", *map(str, arguments)])


def test_the_command_fails_on_a_copy_and_shows_both_on_its_page(data, photos, tmp_path):
    folder, test = photos
    assert run(data).exit_code == 0
    result = run(data, "--against", folder, "--html", tmp_path / "page.html")
    assert result.exit_code == 1
    assert test[0] in result.stdout and "do not train on those" in result.stdout
    assert (tmp_path / "page.html").read_text().count("data:image/jpeg") >= 4
    (folder / "deep" / "copy.jpg").unlink()
    assert run(data, "--against", folder).exit_code == 0


def test_against_a_data_set_its_training_photos_count(data, tmp_path):
    test = sorted(name for name in FILES if name.startswith("testB/"))
    other = dict(corpus.base())
    other["trainB/copy.jpg"] = FILES[test[0]]
    other["trainA/copy_1.png"] = corpus.stored(corpus.sketch(77))
    folder = corpus.write(tmp_path / "other", other)
    result = run(data, "--against", folder, "--json")
    files = [f["files"] for f in json.loads(result.stdout)["findings"] if f["kind"] == "test photo elsewhere"]
    assert files == [[test[0], f"{folder}/trainB/copy.jpg"]]


def test_a_folder_that_is_not_there(data):
    result = run(data, "--against", "nowhere")
    assert result.exit_code != 0 and "nowhere is not a folder" in str(result.exception)
