import json

import numpy as np
import pytest

from effnet_jax.config import Config, ConfigError
from effnet_jax.runs.embeddings import evaluate_embeddings


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    photos = rng.standard_normal((12, 8)).astype(np.float32)
    truth = rng.integers(0, 12, 20)
    ids = np.array([f"p{j}" for j in range(12)])
    return {
        "sketch_embeddings": photos[truth] + 0.01,
        "photo_embeddings": photos,
        "sketch_ids": np.array([f"p{j}_{i}" for i, j in enumerate(truth)]),
        "photo_ids": ids,
        "sketch_photo_ids": ids[truth],
    }


def save(tmp_path, arrays):
    path = tmp_path / "theirs.npz"
    np.savez(path, **arrays)
    return path


def test_ranks_and_reports(arrays, tmp_path):
    path = save(tmp_path, {**arrays, "tags": np.array(["a", "b"] * 10), "more": np.zeros(3)})
    evaluation, ranking = evaluate_embeddings(path, out=tmp_path / "out", with_photo_to_sketch=True)
    assert evaluation.summary.accuracy[1].value == 1
    assert evaluation.photo_to_sketch is not None
    assert list(evaluation.summary.tags) == ["a", "b"]
    assert (ranking.better == 0).all()
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["results"][0]["selection"].startswith("not known")
    assert "SHA-256" in content["results"][0]["notes"][0]
    assert len((tmp_path / "out" / "ranks.csv").read_text().splitlines()) == 21


def test_missing_arrays_are_named(arrays, tmp_path):
    del arrays["photo_ids"], arrays["sketch_embeddings"]
    with pytest.raises(ValueError, match=r"lacks sketch_embeddings, photo_ids\. It must hold"):
        evaluate_embeddings(save(tmp_path, arrays))


def test_shapes_are_checked_together(arrays, tmp_path):
    arrays["sketch_ids"] = arrays["sketch_ids"][:7]
    arrays["photo_embeddings"] = arrays["photo_embeddings"][0]
    arrays["tags"] = np.array("x")
    with pytest.raises(ValueError) as error:
        evaluate_embeddings(save(tmp_path, arrays))
    for expected in ("photo_embeddings must be", "sketch_ids must have shape (20,)", "tags must have shape (20,)"):
        assert expected in str(error.value)


@pytest.mark.usefixtures("unchecked")
def test_widths_must_agree(arrays, tmp_path):
    arrays["photo_embeddings"] = arrays["photo_embeddings"][:, :5]
    with pytest.raises(ValueError, match=r"\(20, 8\) and photos \(12, 5\)"):
        evaluate_embeddings(save(tmp_path, arrays))


def test_unknown_and_repeated_ids_are_all_named(arrays, tmp_path):
    arrays["sketch_photo_ids"][[0, 1]] = "x1", "x0"
    arrays["photo_ids"][11] = arrays["photo_ids"][10]
    arrays["sketch_ids"][1] = arrays["sketch_ids"][0]
    with pytest.raises(ValueError) as error:
        evaluate_embeddings(save(tmp_path, arrays))
    assert f"sketch_ids more than once: {arrays['sketch_ids'][0]}" in str(error.value)
    assert "photo_ids more than once: p10" in str(error.value)
    assert "not in photo_ids: " in str(error.value)
    assert "x0, x1" in str(error.value)


def test_files_that_are_no_plain_npz(arrays, tmp_path):
    with pytest.raises(ValueError, match="is not there"):
        evaluate_embeddings(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"not a \.npz file of plain arrays"):
        evaluate_embeddings(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"not a \.npz file of plain arrays"):
        evaluate_embeddings(tmp_path / "one.npy")
    arrays["photo_ids"] = arrays["photo_ids"].astype(object)
    with pytest.raises(ValueError, match="as text"):
        evaluate_embeddings(save(tmp_path, arrays))


def test_rows_that_are_not_finite_are_named(arrays, tmp_path):
    arrays["sketch_embeddings"][4, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 of 20 rows of sketches .* rows 4"):
        evaluate_embeddings(save(tmp_path, arrays))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("metrics.json", '{"accuracy": 0.9}', "is not of effnet_jax"),
        ("config.json", '{"lr": 0.1}', "is not of effnet_jax"),
        ("config.json", json.dumps(Config().to_dict()), "is the folder of a training run"),
    ],
)
def test_nothing_is_written_over_what_lies_there(arrays, tmp_path, name, content, words):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text(content)
    with pytest.raises(ConfigError, match=words):
        evaluate_embeddings(save(tmp_path, arrays), out=out)
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == content
