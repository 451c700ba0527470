import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from effnet_jax.retrieval.evaluation import Evaluation, print_evaluations
from effnet_jax.retrieval.metrics import photo_to_sketch, summarise
from effnet_jax.retrieval.ranking import rank_gallery
from effnet_jax.runs.results import write_metrics, write_ranks


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    photos = rng.standard_normal((15, 8)).astype(np.float32)
    truth = np.sort(rng.integers(0, 15, 24))
    sketches = photos[truth] + 0.7 * rng.standard_normal((24, 8)).astype(np.float32)
    return sketches, photos, truth


def make_evaluation(case, **changes):
    sketches, photos, truth = case
    summary = summarise(rank_gallery(*case), truth, tags=[f"{i % 3:02d}" for i in range(24)])
    fields = {
        "summary": summary,
        "dataset": "clothes_v1",
        "split": "test",
        "split_sha256": "ab" * 32,
        "step": 1200,
        "selection": "last",
        "seed": 3,
        "photo_to_sketch": photo_to_sketch(sketches, photos, truth),
    }
    return Evaluation(**{**fields, **changes})


def test_metrics_file(case, tmp_path):
    path = tmp_path / "new" / "metrics.json"
    best = make_evaluation(case, selection="best on validation", step=900, photo_to_sketch=None)
    written = write_metrics(path, [make_evaluation(case), best])
    content = json.loads(path.read_text())
    assert content == written
    assert [result["protocol"] for result in content["results"]] == ["encoder"] * len(content["results"])
    assert "95 %" in content["intervals"]
    last, best = content["results"]
    assert (last["dataset"], last["split"], last["split_sha256"]) == ("clothes_v1", "test", "ab" * 32)
    assert (last["checkpoint_step"], last["selection"], last["seed"]) == (1200, "last", 3)
    assert (last["queries"], last["gallery"]) == (24, 15)
    assert last["photo_to_sketch"]["gallery"] == 24
    assert "photo_to_sketch" not in best
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]  # no temporary file stays
    with pytest.raises(ValueError, match="no evaluation"):
        write_metrics(path, [])


@pytest.mark.usefixtures("unchecked")
def test_a_failed_write_leaves_the_old_file(case, tmp_path):
    path = tmp_path / "metrics.json"
    write_metrics(path, [make_evaluation(case)])
    before = path.read_text()
    with pytest.raises(ValueError, match="JSON"):
        write_metrics(path, [make_evaluation(case, seed=float("nan"))])
    assert path.read_text() == before


def test_ranks_file(case, tmp_path):
    truth = case[2]
    ranking = rank_gallery(*case)
    photo_ids = [f"{j:05d}" if j else "a, b" for j in range(15)]
    sketch_ids = [f"{photo_ids[j]}_{i}" for i, j in enumerate(truth)]
    write_ranks(tmp_path / "ranks.csv", ranking, sketch_ids, photo_ids, truth)
    with (tmp_path / "ranks.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["sketch_id"] for line in lines] == sketch_ids
    for i, line in enumerate(lines):
        assert line["true_photo_id"] == photo_ids[truth[i]]
        assert float(line["rank"]) == ranking.rank[i]
        assert (int(line["better"]), int(line["tied"])) == (ranking.better[i], ranking.tied[i])
        first = [line[f"photo_{place}"] for place in range(1, 11)]
        scores = [float(line[f"score_{place}"]) for place in range(1, 11)]
        assert len(set(first)) == 10
        assert scores == sorted(scores, reverse=True)
        if ranking.rank[i] <= 10:
            assert first[int(ranking.rank[i]) - 1] == photo_ids[truth[i]]
    with pytest.raises(ValueError, match="24 ranks, but 3 sketch ids"):
        write_ranks(tmp_path / "ranks.csv", ranking, sketch_ids[:3], photo_ids, truth)


def test_console_shows_counts_selection_and_intervals(case):
    text = io.StringIO()
    evaluations = [make_evaluation(case), make_evaluation(case, selection="best on test [optimistic]", step=None)]
    print_evaluations(evaluations, Console(file=text, width=160))
    shown = text.getvalue()
    accuracy = evaluations[0].summary.accuracy[1]
    for expected in (
        "clothes_v1 / test: 24 sketches",
        "gallery of 15 photos",
        "last, step 1,200",
        "best on test [optimistic]",
        str(accuracy),
        "photo to sketch",
        "by tag, last",
        "95 % intervals",
    ):
        assert expected in shown


def test_four_protocols_fit_eighty_characters_without_a_cut(case):
    text = io.StringIO()
    names = ("encoder", "rerank", "all_pairs", "paired")
    evaluations = [make_evaluation(case, protocol=name, photo_to_sketch=None) for name in names]
    print_evaluations(evaluations, Console(file=text, width=80))
    shown = text.getvalue()
    assert shown.count(f"{evaluations[0].summary.accuracy[1]}") >= len(names)
    assert all(name in shown for name in names)
    assert "checkpoint: last, step 1,200" in shown
    assert "…" not in shown
