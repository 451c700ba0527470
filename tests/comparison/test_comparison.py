import csv
import io
import json
import shutil

import numpy as np
import pytest
from made_runs import write_foreign, write_run
from PIL import Image
from rich.console import Console

from effnet_jax.comparison.answered import _chosen, read_run
from effnet_jax.comparison.comparison import compare_runs
from effnet_jax.comparison.curves_plot import draw_curves
from effnet_jax.comparison.tables import markdown, print_comparison
from effnet_jax.presentation.plot_style import DASHES, MARKERS, SERIES
from effnet_jax.retrieval.difference import paired_difference
from effnet_jax.retrieval.ranking import credit_at_k
from effnet_jax.runs.choice import Choice
from effnet_jax.runs.folder import Run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {
        "base0": write_run(root / "base_seed0", seed=0, best=True),
        "base1": write_run(root / "base_seed1", seed=1),
        "base2": write_run(root / "base_seed2", seed=2),
        "noisy": write_run(root / "noisy", noise=1.2, learning_rate=2e-3),
        "foreign": write_foreign(root / "foreign"),
    }


def test_a_run_against_itself(runs):
    comparison = compare_runs([f"one={runs['base0']}", f"same={runs['base0']}"])
    assert [row.name for row in comparison.rows] == ["one", "same"]
    for difference in comparison.differences.values():
        assert (difference.value, difference.low, difference.high, difference.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_figures_are_those_of_the_files(runs):
    comparison = compare_runs([runs["base0"], runs["noisy"]])
    assert comparison.measures == ("acc@1", "acc@5", "acc@10", "mrr")
    for row, key in zip(comparison.rows, ("base0", "noisy"), strict=True):
        stated = json.loads((runs[key] / "metrics.json").read_text())["results"][0]
        for name in comparison.measures:
            measure = row.measure(name)
            assert measure.value == pytest.approx(stated[name]["value"], abs=1e-12)
            assert [measure.low, measure.high] == pytest.approx(stated[name]["interval_95"], abs=1e-12)
    first = comparison.differences[0, 1, "acc@1"]
    assert first.value == pytest.approx(
        comparison.rows[0].measure("acc@1").value - comparison.rows[1].measure("acc@1").value
    )
    assert first.value > 0.2 and first.p_value < 0.01


def test_the_difference_is_paired_by_query(runs):
    values = []
    for key in ("base0", "noisy"):
        with (runs[key] / "last" / "ranks.csv").open(newline="") as file:
            lines = sorted(csv.DictReader(file), key=lambda line: line["sketch_id"])
        better, tied = (np.array([int(line[name]) for line in lines]) for name in ("better", "tied"))
        values.append(credit_at_k(better, tied, 5))
    photos = np.array([int(line["true_photo_id"][1:]) for line in lines])
    expected = paired_difference(*values, photos)
    assert compare_runs([runs["base0"], runs["noisy"]]).differences[0, 1, "acc@5"] == expected


def test_seeds_of_one_configuration_are_one_row(runs):
    comparison = compare_runs([runs["base1"], runs["noisy"], runs["base0"], runs["base2"]])
    assert [(row.name, [run.seed for run in row.runs]) for row in comparison.rows] == [
        ("base", [1, 0, 2]),
        ("noisy", [0]),
    ]
    row = comparison.rows[0]
    seeds = row.by_seed("acc@1")
    assert row.measure("acc@1").value == pytest.approx(seeds.mean())
    described = comparison.to_dict()["rows"][0]["acc@1"]
    assert described["by_seed"] == seeds.tolist()
    assert described["spread"] == pytest.approx(np.std(seeds, ddof=1))
    assert any("over seeds" in note for note in comparison.notes)


def test_seeds_can_be_kept_apart(runs):
    with pytest.raises(ValueError, match="--per-run"):
        compare_runs([runs["base0"], runs["base1"]])
    comparison = compare_runs([runs["base0"], runs["base1"], runs["base2"]], per_run=True)
    assert [row.name for row in comparison.rows] == ["base_seed0", "base_seed1", "base_seed2"]
    assert len(comparison.differences) == 3 * 4
    for key, difference in comparison.differences.items():
        assert difference.p_value <= comparison.adjusted[key] <= 1


def test_protocols_of_one_run_are_rows_of_their_own(tmp_path):
    run = write_run(tmp_path / "trsm")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["results"].append({**metrics["results"][0], "protocol": "rerank", "folder": "last_rerank"})
    (run / "metrics.json").write_text(json.dumps(metrics))
    shutil.copytree(run / "last", run / "last_rerank")
    comparison = compare_runs([run / "last", run / "last_rerank"])
    assert [row.name for row in comparison.rows] == ["last", "last_rerank"]
    assert comparison.differences[0, 1, "acc@1"].value == 0
    with pytest.raises(ValueError, match="no evaluation last_paired; it has last, last_rerank"):
        read_run(run / "last_paired")


def test_embeddings_from_elsewhere_are_compared_with_a_note(runs):
    comparison = compare_runs([runs["base0"], runs["foreign"]])
    assert any("No split hash in" in note and "foreign" in note for note in comparison.notes)
    assert comparison.rows[1].selection.startswith("not known")


def test_another_checkpoint(runs):
    answered = read_run(runs["base0"], checkpoint="best_on_validation")
    assert answered.selection.startswith("best on validation")
    with pytest.raises(ValueError, match=r"base_seed1 has no checkpoint best_on_validation; .*'last'"):
        compare_runs([runs["base0"], runs["base1"]], checkpoint="best_on_validation")


def test_the_last_checkpoint_may_be_the_best_one(runs, tmp_path):
    for seed, selection in ((1, "last, also best on validation (MRR, 3 photos)"), (2, "last, also best on test (MRR)")):
        path = write_run(tmp_path / f"base_seed{seed}", seed=seed) / "metrics.json"
        metrics = json.loads(path.read_text())
        for result in metrics["results"]:  # as runs were before their reports said in fields what the sentence says
            result["selection"] = selection
            del result["chosen_as"], result["folder"]
        path.write_text(json.dumps(metrics))
    both = compare_runs([runs["base0"], tmp_path / "base_seed1", runs["noisy"]], checkpoint="last").rows[0]
    assert [run.selection for run in both.runs] == ["last", "last, also best on validation (MRR, 3 photos)"]
    last = read_run(tmp_path / "base_seed1")
    best = read_run(tmp_path / "base_seed1", checkpoint="best_on_validation")
    np.testing.assert_array_equal(best.better, last.better)
    assert read_run(tmp_path / "base_seed2", checkpoint="best_on_test").selection.endswith("best on test (MRR)")
    with pytest.raises(ValueError, match="no checkpoint best_on_test"):
        read_run(tmp_path / "base_seed1", checkpoint="best_on_test")


def test_an_evaluation_is_compared_by_every_rule_that_came_to_it(runs, tmp_path):
    run = write_run(tmp_path / "merged")
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["results"][0]["chosen_as"] = ["last", "best_on_test"]
    (run / "metrics.json").write_text(json.dumps(metrics))
    for left in ("best_on_test", "best_on_validation"):  # by a report in which other checkpoints were the best
        shutil.copytree(runs["noisy"] / "last", run / left)
    answered = read_run(run / "best_on_test")
    np.testing.assert_array_equal(answered.better, read_run(run / "last").better)
    assert answered.path == run / "best_on_test"
    with pytest.raises(ValueError, match="no evaluation best_on_validation; it has best_on_test, last"):
        read_run(run / "best_on_validation")


def test_rows_of_one_name_are_told_apart(runs, tmp_path):
    base, noisy = runs["base0"], runs["noisy"]
    other = shutil.copytree(noisy, tmp_path / "base_seed0")
    assert [row.name for row in compare_runs([base, other]).rows] == [str(base), str(other)]
    assert [row.name for row in compare_runs([base, base]).rows] == [f"{base} (1)", f"{base} (2)"]
    assert [row.name for row in compare_runs([f"noisy={base}", noisy]).rows] == ["noisy", str(noisy)]
    with pytest.raises(ValueError, match=r"the name x stands for 2 rows: .*base_seed0, .*noisy; give each its own"):
        compare_runs([f"x={base}", f"x={noisy}"])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"sha256": "cd" * 32}, ["split hash cdcd", "instead of abab", "some files have other contents"]),
        ({"sha256": "cd" * 32, "sketches": 68}, ["2 queries missing: p29_068, p29_069"]),
        (
            {"sha256": "cd" * 32, "dataset": "other", "sketches": 60},
            ["10 queries missing: p25_060, p25_061, p25_062 and 7 more"],
        ),
        ({"sha256": "cd" * 32, "dataset": "other"}, ["other / test instead of made / test"]),
    ],
)
def test_runs_that_were_asked_otherwise_are_refused(runs, tmp_path, other, said):
    write_run(tmp_path / "b", **other)
    with pytest.raises(ValueError, match="they were not asked the same") as caught:
        compare_runs([runs["base0"], tmp_path / "b"])
    assert str(tmp_path / "b") in str(caught.value) and str(runs["base0"]) in str(caught.value)
    assert all(text in str(caught.value) for text in said)


def test_another_gallery_is_refused_and_its_photos_named(tmp_path):
    write_run(tmp_path / "a", sha256=None, sketches=20)
    write_run(tmp_path / "b", sha256=None, sketches=20, photos=28)
    with pytest.raises(ValueError, match="2 photos of the gallery missing: p28, p29"):
        compare_runs([tmp_path / "a", tmp_path / "b"])
    (tmp_path / "b" / "split.json").unlink()
    with pytest.raises(ValueError, match="a gallery of 28 photos instead of 30"):
        compare_runs([tmp_path / "a", tmp_path / "b"])


def test_another_truth_is_refused(runs, tmp_path):
    other = write_run(tmp_path / "b")
    path = other / "last" / "ranks.csv"
    lines = path.read_text().splitlines()
    lines[1] = lines[1].replace(",p00,", ",p09,", 1)
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"1 queries have another true photo: p00_000"):
        compare_runs([runs["base0"], other])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda run: (run / "metrics.json").unlink(), "holds no evaluated run"),
        (lambda run: (run / "metrics.json").write_text("{"), "is damaged"),
        (lambda run: (run / "metrics.json").write_text("[]"), "holds no JSON object"),
        (lambda run: (run / "last" / "ranks.csv").unlink(), "cannot be read"),
        (lambda run: (run / "last" / "ranks.csv").write_text("a,b\n1,2\n"), "is damaged"),
        (lambda run: (run / "last" / "ranks.csv").write_text("sketch_id,true_photo_id,better,tied\n"), "no query"),
        (
            lambda run: (run / "last" / "ranks.csv").write_text(
                "sketch_id,true_photo_id,better,tied\na,b,0,0\na,b,0,0\n"
            ),
            "more than once: a",
        ),
        (
            lambda run: (run / "last" / "ranks.csv").write_text("sketch_id,true_photo_id,better,tied\na,b,0,0\n"),
            "of two evaluations",
        ),
    ],
)
def test_files_that_are_no_run(runs, tmp_path, spoil, message):
    spoil(write_run(tmp_path / "b"))
    with pytest.raises(ValueError, match=message) as caught:
        compare_runs([runs["base0"], tmp_path / "b"])
    assert str(tmp_path / "b") in str(caught.value)


def test_too_little_to_compare(runs):
    with pytest.raises(ValueError, match="two runs"):
        compare_runs([runs["base0"]])
    with pytest.raises(ValueError, match="K >= 1"):
        compare_runs([runs["base0"], runs["noisy"]], ks=(0, 1))
    with pytest.raises(ValueError, match="NAME=FOLDER"):
        compare_runs([runs["base0"], "=x"])


def test_k_beyond_the_gallery_is_left_out_with_a_note(runs):
    comparison = compare_runs([runs["base0"], runs["noisy"]], ks=(1, 31))
    assert comparison.measures == ("acc@1", "mrr")
    assert any("Acc@31 left out: the gallery has 30 photos" in note for note in comparison.notes)


def test_json_is_plain(runs):
    described = compare_runs([runs["base0"], runs["noisy"], runs["foreign"]]).to_dict()
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert (described["queries"], described["gallery"], len(described["differences"])) == (70, 30, 12)


def points(difference):
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


@pytest.mark.parametrize("several", [False, True])
def test_tables_show_every_figure_whole(runs, several):
    keys = ["base0", "noisy", "base1", "foreign"] if several else ["base0", "noisy"]
    comparison = compare_runs([runs[key] for key in keys])
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=100))
    text, page = stream.getvalue(), markdown(comparison)
    for row in comparison.rows:
        for name in comparison.measures:
            assert str(row.measure(name)) in text and str(row.measure(name)) in page
    for difference in comparison.differences.values():
        same = "0 (the same answers)"
        assert (same if difference.photos == 0 else points(difference)) in page
    assert ("p Holm" in page) is several and ("± over seeds" in text) is several
    assert "McNemar" not in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert widths == ({5, 6} if several else {4, 5})


def test_mcnemar_has_a_column_where_it_holds(tmp_path):
    write_run(tmp_path / "a", sketches=1, photos=12)
    write_run(tmp_path / "b", sketches=1, photos=12, noise=9.0, learning_rate=1.0)
    assert "p McNemar" in markdown(compare_runs([tmp_path / "a", tmp_path / "b"]))


def test_markdown_escapes_bars(runs):
    page = markdown(compare_runs([f"a|b={runs['base0']}", runs["noisy"]]))
    assert "a\\|b" in page


def test_curves(runs, tmp_path):
    comparison = compare_runs([runs["base0"], runs["noisy"], runs["base1"]])
    draw_curves(comparison, tmp_path / "new" / "c")
    with Image.open(tmp_path / "new" / "c.png") as image:
        assert image.size == (1152, 800)
        pixels = np.asarray(image.convert("RGB"))
    for colour in SERIES[:2]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(-1).sum() > 200
    svg = (tmp_path / "new" / "c.svg").read_text()
    assert svg.lstrip().startswith("<?xml") and SERIES[1] in svg
    before = (tmp_path / "new" / "c.svg").read_bytes()
    draw_curves(comparison, tmp_path / "new" / "c")
    assert (tmp_path / "new" / "c.svg").read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["c.png", "c.svg"]


def test_curves_that_cannot_be_drawn(runs, tmp_path):
    assert len(SERIES) == len(DASHES) == len(MARKERS) == len(set(map(str, DASHES)))
    comparison = compare_runs([f"r{k}={runs['base0']}" for k in range(len(SERIES) + 1)])
    with pytest.raises(ValueError, match="cannot be told apart"):
        draw_curves(comparison, tmp_path / "c")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocols", [("all_pairs", "encoder"), ("encoder", "all_pairs"), ("all_pairs",)])
def test_the_folder_is_that_of_the_protocol(tmp_path, protocols):
    results = [{"selection": "last, also best on validation (MRR)", "protocol": protocol} for protocol in protocols]
    (tmp_path / "metrics.json").write_text(json.dumps({"results": results}))
    result = _chosen(Run(tmp_path), Choice.of("best_on_validation"))
    assert (result["protocol"], result["folder"]) == (
        ("encoder", "last") if "encoder" in protocols else ("all_pairs", "last_all_pairs")
    )
