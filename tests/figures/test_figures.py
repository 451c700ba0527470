"""Every figure of a run and its report; the pictures are looked at by people, the numbers in them here."""

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tiny import write_pairs

from effnet_jax.config_reader import from_mapping
from effnet_jax.figures.accuracy_curve import accuracy_curve
from effnet_jax.figures.all_figures import FIGURES, _stems, draw_figures
from effnet_jax.figures.attention_distance import layer_statistics, pixel_distance, token_distance
from effnet_jax.figures.attention_figures import _start
from effnet_jax.figures.attention_overlay import patch_attention
from effnet_jax.figures.drawn import FigureSource
from effnet_jax.figures.evaluated import read_evaluated
from effnet_jax.figures.report_page import write_report
from effnet_jax.figures.similarity import draw_similarities, similarities
from effnet_jax.figures.training_curves import draw_training_curves, read_scalars
from effnet_jax.figures.tsne import embed_in_the_plane
from effnet_jax.presentation.plot_style import SERIES
from effnet_jax.retrieval.ranking import accuracy_at_k, rank_gallery
from effnet_jax.runs.folder import Run


@pytest.fixture(scope="module")
def run(trained, tmp_path_factory):
    return shutil.copytree(trained, tmp_path_factory.mktemp("figures") / "run")


@pytest.fixture(scope="module")
def drawn(run):
    return draw_figures(run)


def test_all_figures_are_drawn_as_png_and_svg(run, drawn):
    figures, notes = drawn
    assert notes == []
    assert {figure.kind for figure in figures} == set(FIGURES)
    names = {figure.files[0].stem for figure in figures}
    assert names == {
        "accuracy", "retrieval_random", "retrieval_hardest", "retrieval_tag_01", "retrieval_tag_02", "similarity",
        "tsne", "attention_distance", "attention", "training",
    }  # fmt: skip
    for figure in figures:
        png, svg = figure.files
        assert png.parent == run / "figures"
        with Image.open(png) as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 20
        assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_files_of_tags_differ_also_where_case_does_not_count():
    assert _stems(["01", "né-é"]) == ["tag_01", "tag_né-é"]
    for tags in (["a b", "a/b", "a-b"], ["A", "a"]):
        assert len({name.casefold() for name in _stems(tags)}) == len(tags)


def test_the_same_figures_twice_are_the_same_bytes(run, drawn, tmp_path):
    again, _ = draw_figures(run, out=tmp_path, only=["accuracy", "similarity", "grids"])
    for figure in again:
        for file in figure.files:
            assert file.read_bytes() == (run / "figures" / file.name).read_bytes(), file.name


def test_the_report_is_one_file_with_every_number(run, drawn, tmp_path):
    figures, _ = drawn
    page = write_report(run, figures, ["tsne was not drawn: <because>"], tmp_path / "report.html")
    text = page.read_text()
    assert text.count("data:image/png;base64,") == len(figures)
    assert not re.search(r'(src|href)="(?!data:)', text)
    results = json.loads((run / "metrics.json").read_text())["results"]
    for result in results:
        value = result["acc@1"]
        low, high = value["interval_95"]
        assert f"{100 * value['value']:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in text
        assert result["selection"] in text
        assert result["split_sha256"] in text
    assert "tsne was not drawn: &lt;because&gt;" in text
    assert "18 sketches of 12 photos" in text
    assert "The brackets hold intervals (95 %: " in text


def test_figures_of_another_evaluation_stand_apart_and_say_what_ranked(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "figures"))
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["results"].append({**metrics["results"][0], "protocol": "rerank", "folder": "last_rerank"})
    (copy / "metrics.json").write_text(json.dumps(metrics))
    (copy / "last_rerank").mkdir()
    shutil.copy(copy / "last" / "ranks.csv", copy / "last_rerank")
    figures, _ = draw_figures(copy, name="last_rerank", only=["accuracy", "similarity"])
    assert {figure.files[0].parent for figure in figures} == {copy / "figures" / "last_rerank"}
    said = {figure.kind: "protocol rerank" in figure.files[1].read_text() for figure in figures}
    assert said == {"accuracy": True, "similarity": False}
    results = read_evaluated(copy, "last_rerank")
    assert results.caption.endswith("; protocol rerank")
    assert results.encoder_caption.endswith("; encoder embeddings")
    assert read_evaluated(copy, "last").encoder_caption == read_evaluated(copy, "last").caption


def merged(run, into, rule="best_on_test"):
    """The run as if the last checkpoint were the one of the rule too, and an older report had put that one apart."""
    copy = shutil.copytree(run, into, ignore=shutil.ignore_patterns("checkpoints", "figures"))
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["results"] = [result for result in metrics["results"] if result["folder"] == "last"]
    metrics["results"][0] |= {"chosen_as": ["last", rule], "selection": "last, also another"}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    (copy / rule).mkdir(exist_ok=True)
    for name in ("ranks.csv", "embeddings.npz"):
        (copy / rule / name).write_text("of an older report")
    return copy


def test_an_evaluation_is_found_by_every_rule_that_came_to_it(run, tmp_path):
    copy = merged(run, tmp_path / "run")
    found = read_evaluated(copy, "best_on_test")
    assert (found.name, found.default, found.figures["selection"]) == ("last", True, "last, also another")
    with pytest.raises(ValueError, match="no evaluation 'best_on_validation'; it has best_on_test, last"):
        read_evaluated(copy, "best_on_validation")
    default = read_evaluated(merged(run, tmp_path / "best", "best_on_validation"))
    assert (default.name, default.default) == ("last", True)


def test_embeddings_of_an_older_report_are_not_those_of_this_one(run, tmp_path):
    copy = merged(run, tmp_path / "run")
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["results"][0] |= {"protocol": "rerank", "folder": "last_rerank"}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    shutil.copytree(copy / "last", copy / "last_rerank", ignore=shutil.ignore_patterns("embeddings.npz"))
    with pytest.raises(ValueError, match=r"no embeddings of step \d+; evaluate it with the protocol encoder too"):
        read_evaluated(copy, "best_on_test_rerank")


def test_data_that_moved_or_changed_are_said_and_the_rest_is_drawn(run, tmp_path):
    figures, notes = draw_figures(run, out=tmp_path, only=["accuracy", "grids"], data_dir=str(tmp_path / "none"))
    assert [figure.kind for figure in figures] == ["accuracy"]
    assert len(notes) == 1
    assert notes[0].startswith("grids was not drawn: ")
    other = write_pairs(tmp_path / "other", range(44), range(60, 72))
    _, notes = draw_figures(run, out=tmp_path, only=["grids"], data_dir=str(other))
    assert "changed since the run was evaluated" in notes[0]


def test_unknown_names_are_refused(run, tmp_path):
    with pytest.raises(ValueError, match="unknown figures tnse; there are accuracy"):
        draw_figures(run, only=["tnse"])
    with pytest.raises(ValueError, match=r"no evaluation 'first'; it has .*last"):
        draw_figures(run, name="first")
    with pytest.raises(ValueError, match=r"has no metrics\.json"):
        draw_figures(tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("last/embeddings.npz", Path.unlink, "is gone; evaluate the run again"),
        ("last/embeddings.npz", cut, "is damaged"),
        ("last/embeddings.npz", lambda path: path.write_bytes(b""), "is damaged"),
        ("last/ranks.csv", cut, "is damaged"),
        ("last/ranks.csv", lambda path: path.write_text(""), "is damaged"),
        ("config.json", Path.unlink, "cannot be read"),
        ("config.json", cut, "is damaged"),
        ("metrics.json", cut, "is damaged"),
        ("metrics.json", lambda path: path.write_text("{}"), "holds no results"),
    ],
)
def test_damaged_runs_name_the_file(run, tmp_path, file, spoil, message):
    copy = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "figures"))
    spoil(copy / file)
    with pytest.raises(ValueError, match=message) as caught:
        draw_figures(copy, name="last", only=["accuracy"])
    assert str(copy / file) in str(caught.value)


def test_results_are_read_back_as_they_were_measured(run):
    names = [result["folder"] for result in Run(run).metrics["results"]]
    assert "last" in names
    for name in names:
        results = read_evaluated(run, name)
        again = rank_gallery(results.saved.sketches, results.saved.photos, results.saved.photo_index)
        for field in ("better", "tied", "candidates", "top_index"):
            np.testing.assert_array_equal(getattr(results.ranking, field), getattr(again, field), err_msg=field)
        np.testing.assert_allclose(results.ranking.top_score, again.top_score, atol=1e-6)
        assert results.figures["acc@1"]["value"] == pytest.approx(accuracy_at_k(again, 1))
    assert read_evaluated(run).name == ("best_on_validation" if "best_on_validation" in names else "last")


def test_curve_and_similarities(run):
    results = read_evaluated(run)
    ks = np.array([1, 5, 10])
    value, low, high = accuracy_curve(results.ranking, results.saved.photo_index, ks)
    for i, k in enumerate(ks):
        wanted = results.figures[f"acc@{k}"]
        np.testing.assert_allclose((value[i], low[i], high[i]), (wanted["value"], *wanted["interval_95"]))
    scores = similarities(results.saved.sketches, results.saved.photos)
    top = results.ranking.top_index[:, 0]
    np.testing.assert_allclose(scores[np.arange(len(top)), top], results.ranking.top_score[:, 0], atol=1e-5)


def test_training_curves_hold_what_was_logged(run, tmp_path):
    scalars = read_scalars(run / "metrics.jsonl")
    steps, values = scalars["train/loss"]
    assert (np.diff(steps) > 0).all()
    assert np.isfinite(values).all()
    assert "eval/validation/acc@1" in scalars
    with pytest.raises(ValueError, match="the run has logged nothing"):
        read_scalars(tmp_path / "metrics.jsonl")
    lines = (run / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 9999, "train/lo')
    np.testing.assert_array_equal(read_scalars(tmp_path / "metrics.jsonl")["train/loss"][1], values)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/lo\n' + lines)
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1 is damaged"):
        read_scalars(tmp_path / "metrics.jsonl")


def test_a_term_hidden_under_another_is_still_seen(tmp_path):
    same = np.arange(10, 510, 10), np.linspace(3.0, 1.0, 50)
    png, _ = draw_training_curves(tmp_path / "training", {f"train/{name}": same for name in ("loss", "inter", "multi")})
    with Image.open(png) as picture:
        pixels = np.asarray(picture.convert("RGB"))[200:]  # below the legend
    for colour in SERIES[:3]:
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == rgb).all(-1).sum() > 300, colour


@pytest.mark.parametrize(("sketches", "circled"), [(60, True), (61, False)])
def test_circles_never_cover_a_fine_map(tmp_path, sketches, circled):
    photo_index = np.arange(sketches) // 3
    scores = np.random.default_rng(0).random((sketches, 21)).astype(np.float32)
    _, svg = draw_similarities(tmp_path / "similarity", scores, photo_index)
    assert ("stroke: #ffffff" in svg.read_text()) is circled


def test_distances_of_maps_that_are_known():
    eye = np.eye(17, dtype=np.float32)[None, None, None]  # each token looks at itself
    np.testing.assert_allclose(token_distance(jnp.asarray(eye)), 0)
    np.testing.assert_allclose(pixel_distance(jnp.asarray(eye), 16)[..., 0], 0, atol=1e-6)
    left = np.zeros((1, 1, 1, 17, 17), np.float32)  # all look at the first patch, half a share at CLS, which is dropped
    left[..., 0], left[..., 1] = 0.5, 0.5
    i, j = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    np.testing.assert_allclose(pixel_distance(jnp.asarray(left), 16), 16 * np.hypot(i, j).mean(), rtol=1e-5)
    wanted = np.mean([(n + abs(n - 1)) / 2 for n in range(17)])
    np.testing.assert_allclose(token_distance(jnp.asarray(left)), wanted, rtol=1e-5)
    mean, variance = layer_statistics(jnp.array([[1.0, 3.0], [2.0, 2.0]]))
    np.testing.assert_allclose(mean, 2)
    np.testing.assert_allclose(variance, [2, 0])
    assert np.isnan(layer_statistics(jnp.ones((2, 1)))[1]).all()


def test_patch_attention_reads_the_row_that_means_something():
    maps = np.random.default_rng(0).random((2, 3, 2, 17, 17)).astype(np.float32)
    rows, words = patch_attention(maps, "cls")
    np.testing.assert_allclose(rows.reshape(3, 16), maps[-1].mean(1)[:, 0, 1:], rtol=1e-6)
    assert "CLS token in the last layer" in words
    rows, words = patch_attention(maps, "all")
    np.testing.assert_allclose(rows.reshape(3, 16), maps[-1].mean(1)[:, 1:, 1:].mean(1), rtol=1e-6)
    assert "not trained" in words


def test_the_plane_is_the_same_twice_and_needs_points():
    rng = np.random.default_rng(0)
    sketches, photos = rng.standard_normal((2, 12, 8)).astype(np.float32)
    a, b = embed_in_the_plane(sketches, photos, seed=1), embed_in_the_plane(sketches, photos, seed=1)
    np.testing.assert_array_equal(a[0], b[0])
    assert a[1].shape == (12, 2)
    with pytest.raises(ValueError, match="four points"):
        embed_in_the_plane(sketches[:1], photos[:2])


def test_the_start_of_a_run_with_warm_up_can_be_shown(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())
    config["optim"]["warmup_steps"] = 20
    (copy / "config.json").write_text(json.dumps(config))
    source = FigureSource(read_evaluated(copy), from_mapping(config), tmp_path)
    params, why = _start(source)
    assert why == ""
    assert set(params) == set(source.encoders.params)
