import json

import pytest
from made_runs import write_run
from typer.testing import CliRunner

from effnet_jax.cli.program import app, main

RUNNER = CliRunner()


def run(*arguments):
    return RUNNER.invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return write_run(root / "paper"), write_run(root / "shared", noise=0.9, learning_rate=2e-3)


def test_text(runs):
    result = run(*runs)
    assert result.exit_code == 0
    assert "made / test: 70 sketches of 30 photos, gallery of 30 photos" in result.stdout
    assert "paper - shared" in result.stdout and "p sign-flip" in result.stdout


def test_markdown_and_json(runs):
    assert "| paper - shared | Acc@1 % |" in run(*runs, "--markdown").stdout
    content = json.loads(run(*runs, "--json", "-k", "2").stdout)
    assert {entry["measure"] for entry in content["differences"]} == {"acc@2", "mrr"}


def test_files(runs, tmp_path):
    result = run(*runs, "--out", tmp_path / "new" / "out", "--json")
    written = {path.name: path for path in (tmp_path / "new" / "out").iterdir()}
    assert set(written) == {"comparison.json", "comparison.md", "curves.png", "curves.svg"}
    assert json.loads(written["comparison.json"].read_text()) == json.loads(result.stdout)
    assert written["comparison.md"].read_text() == run(*runs, "--markdown").stdout


def test_paths_are_shown_as_they_were_given(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "Schuhe für Große", noise=0.5, learning_rate=3e-3)
    result = run(runs[0], "Schuhe für Große/last", "--out", "out", "--json")
    assert '"Schuhe für Große/last"' in result.stdout
    assert (tmp_path / "out" / "comparison.json").read_text(encoding="utf-8") == result.stdout
    assert json.loads(result.stdout)["rows"][0]["runs"] == [str(runs[0])]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--checkpoint", "worst"],
            "no checkpoint 'worst'; choose best, last, best_on_validation, best_on_test, or a step",
        ),
        (["--json", "--markdown"], "choose --markdown or --json"),
        (["-k", "0"], "K >= 1"),
        (["nowhere"], "nowhere holds no evaluated run"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(runs, options, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["effnet-jax", "compare", *map(str, runs), *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert message in captured.err and not captured.out
