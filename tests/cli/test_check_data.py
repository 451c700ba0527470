import json
import os
import signal
import subprocess
import sys
import time

import corpus
import pytest
from typer.testing import CliRunner

from effnet_jax.cli.program import app, main

RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(app, ["check-data", *map(str, arguments)])


@pytest.fixture
def good(tmp_path):
    return corpus.write(tmp_path / "good", corpus.base())


@pytest.fixture
def bad(tmp_path):
    files = {**corpus.base(), "testB/77.jpg": corpus.base()["trainB/2.jpg"], "trainA/lost_1.png": b""}
    return corpus.write(tmp_path / "bad", files)


def test_good_data_end_with_0(good):
    result = run(good)
    assert result.exit_code == 0
    assert "0 faults, 0 notes" in result.stdout


def test_faults_end_with_1_and_are_listed(bad):
    result = run(bad)
    assert result.exit_code == 1
    assert "testB/77.jpg = trainB/2.jpg" in result.stdout and "trainA/lost_1.png" in result.stdout


def test_notes_do_not_fail(good):
    (good / "testB" / "77.jpg").write_bytes(corpus.jpeg(corpus.photo(77)))
    result = run(good)
    assert result.exit_code == 0 and "0 faults, 1 note" in result.stdout


def test_a_folder_of_sketches_is_described_once(good):
    result = run(good / "trainA")
    assert result.exit_code == 1
    assert result.stdout.count(f"{good / 'trainA'} holds ") == 1
    assert "trainB" in result.stdout


def test_json_is_all_that_is_printed(bad):
    result = run(bad, "--json")
    content = json.loads(result.stdout)
    assert result.exit_code == 1
    assert content["faults"] == 3 and content["counts"]["train"] == {"sketches": 10, "photos": 8}


def test_page_and_copy(bad, tmp_path):
    result = run(bad, "--html", tmp_path / "page.html", "--fix", tmp_path / "copy", "--json")
    assert result.exit_code == 0  # the copy is clean
    assert json.loads(result.stdout)["copy"]["faults"] == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "copy" / "cleaned.json").is_file()
    assert run(tmp_path / "copy").exit_code == 0
    text = run(bad, "--fix", tmp_path / "other").stdout
    assert "left out; cleaned.json there says why" in text


@pytest.mark.parametrize(
    ("name", "options", "counts"),
    [("qmul_chair_v1", [], True), ("mine", ["--dataset", "qmul_chair_v1"], True), ("mine", [], False)],
)
def test_counts_are_held_to_the_set_that_is_named(tmp_path, name, options, counts):
    folder = corpus.write(tmp_path / name, corpus.base())
    result = run(folder, *options)
    assert (result.exit_code == 1) is counts
    assert ("published are qmul_chair_v1: train 200 sketches / 200 photos" in result.stdout) is counts


def test_data_set_by_name(tmp_path, monkeypatch):
    corpus.write(tmp_path / "home" / "qmul_chair_v1", corpus.base())
    monkeypatch.setenv("EFFNET_DATA_DIR", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    result = run("qmul_chair_v1")
    assert result.exit_code == 1
    assert "qmul_chair_v1 as qmul_chair_v1" in result.stdout
    assert "train: 9 sketches, 8 photos" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["check-data", "nowhere"],
            "nowhere is not a folder, and there is no data set 'nowhere'; there are",
        ),
        (["check-data", ".", "--dataset", "imagenet"], "no published counts for --dataset=imagenet"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["effnet-jax", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert message in capsys.readouterr().err


def test_a_set_that_is_not_there_says_where_it_was_looked_for(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("EFFNET_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["effnet-jax", "check-data", "clothes_v1", "--tfds-dir", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    error = capsys.readouterr().err
    assert "$EFFNET_DATA_DIR/clothes_v1: not set" in error and str(tmp_path / "downloads") in error


def test_an_interrupted_copy_leaves_nothing(tmp_path):
    folder = corpus.write(tmp_path / "in", corpus.base())
    slow = (
        "import effnet_jax.doctor.clean_copy as repair, time, sys\n"
        "write = repair._write\n"
        "def slowly(fate, folder):\n    print('writing', flush=True); time.sleep(0.5); write(fate, folder)\n"
        "repair._write = slowly\n"
        "from effnet_jax.cli.program import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", slow, "check-data", str(folder), "--fix", str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("writing"):
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert os.listdir(tmp_path) == ["in"]


def test_help_has_examples():
    result = run("--help")
    assert result.exit_code == 0 and "effnet-jax check-data my_data --fix my_data_clean" in result.stdout
