import json

import pytest
from test_qmul_v2 import archive, as_folder, as_zip, tree
from typer.testing import CliRunner

from effnet_jax.cli.program import app, main

RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(app, ["prepare", *map(str, arguments)])


def test_an_archive_becomes_a_data_set(tmp_path):
    result = run("qmul_shoe_v2", as_zip(tmp_path / "a.zip", archive()), tmp_path / "out", "--size", "64")
    assert result.exit_code == 0
    assert "found photos of train: 3 names in ShoeV2/photo_train.txt" in result.stdout
    assert "found sketches: 10 files in ShoeV2/ShoeV2_sketch" in result.stdout
    assert "train: 6 sketches, 3 photos" in result.stdout
    assert "not the published set: found train 6 sketches / 3 photos" in result.stderr
    assert len(tree(tmp_path / "out")) == 15


def test_json(tmp_path):
    files = archive()
    del files["ShoeV2/ShoeV2_sketch/100_2.svg"]
    root = as_folder(tmp_path / "a", files)
    result = run("qmul_chair_v2", root, tmp_path / "out", "--size", "64", "--json", "--allow-missing")
    content = json.loads(result.stdout)
    assert content["written"]["test"] == {"sketches": 3, "photos": 2}
    assert content["left_out"] == ["sketch without a file: 100_2 (test)"]
    assert "published are qmul_chair_v2" in content["remarks"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clothes_v1", "a", "out"], "'clothes_v1' cannot be prepared; qmul_shoe_v2 and qmul_chair_v2 can"),
        (["qmul_shoe_v2", "none.zip", "out"], "none.zip does not exist"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["effnet-jax", "prepare", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
