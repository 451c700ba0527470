import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from effnet_jax.figures.grid import TRUE, retrieval_grid, select_queries
from effnet_jax.retrieval.ranking import Ranking, rank_gallery


class Made:
    """Flat coloured pictures of differing shapes."""

    def __init__(self, sketches=6, photos=14):
        rng = np.random.default_rng(0)
        self.photo_index = rng.integers(0, photos, sketches).astype(np.int32)
        self.sketch_ids = tuple(f"{j:05d}_$0{i}" for i, j in enumerate(self.photo_index))  # a dollar is no formula
        self.colours = rng.integers(0, 200, (photos, 3)).astype(np.uint8)

    def sketch(self, i):
        return np.full((40, 90, 3), 240, np.uint8)

    def photo(self, j):
        return np.tile(self.colours[j], (90, 60, 1))


def made_ranking(pictures, shift):
    """The true photo in place `shift` + 1, with 14 photos."""
    s = len(pictures.photo_index)
    top = (pictures.photo_index[:, None] + np.arange(14) - shift) % 14
    score = np.tile(np.linspace(0.9, 0.1, 14, dtype=np.float32), (s, 1))
    counts = np.full(s, shift, np.int32)
    return Ranking(counts, counts * 0, counts * 0 + 14, top[:, :10].astype(np.int32), score[:, :10])


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def green_pixels(path):
    colour = np.array([int(TRUE[i : i + 2], 16) for i in (1, 3, 5)])
    return (pixels(path) == colour).all(-1)


def test_the_true_photo_is_framed(tmp_path):
    pictures = Made()
    path = retrieval_grid(pictures, made_ranking(pictures, 2), [0, 3], tmp_path / "new" / "grid.png", title="Chairs")
    assert pixels(path).shape[1] == 1200
    columns = np.flatnonzero(green_pixels(path).sum(0) > 150)  # the upright sides of two frames
    assert 300 < columns.min() < columns.max() < 500  # third photo
    rows = np.flatnonzero(green_pixels(path).sum(1) > 80)
    assert len(rows) >= 12  # top and bottom sides of two frames


def test_a_missed_photo_is_not_framed(tmp_path):
    pictures = Made()
    path = retrieval_grid(pictures, made_ranking(pictures, 12), [1], tmp_path / "grid.png")
    assert not green_pixels(path).any()


def test_pictures_stand_in_their_cells(tmp_path):
    pictures = Made()
    ranking = made_ranking(pictures, 0)
    image = pixels(retrieval_grid(pictures, ranking, [2], tmp_path / "grid.png"))
    for j in ranking.top_index[2]:
        assert (image == pictures.colours[j]).all(-1).sum() > 3000


@pytest.mark.parametrize("width", [400, 2000])
def test_other_widths_and_long_texts(tmp_path, width):
    pictures = Made()
    ranking = rank_gallery(np.eye(6, 14), np.eye(14), pictures.photo_index, top=4)
    words = "many words " * 30
    path = retrieval_grid(pictures, ranking, range(6), tmp_path / "a.png", title=words, subtitle=words, width=width)
    image = pixels(path)
    assert image.shape[1] == width
    assert (image[:, -width // 100 :] == 255).all()  # nothing runs over the margin


def test_same_bytes_twice(tmp_path):
    pictures = Made()
    paths = [retrieval_grid(pictures, made_ranking(pictures, 1), [0], tmp_path / name) for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_refuses_what_cannot_be_drawn(tmp_path):
    pictures = Made()
    ranking = made_ranking(pictures, 1)
    for queries in ([], [6, -1]):
        with pytest.raises(ValueError, match="Nothing to draw"):
            retrieval_grid(pictures, ranking, queries, tmp_path / "a.png")
    unlisted = rank_gallery(np.eye(6, 14), np.eye(14), pictures.photo_index, top=0)
    with pytest.raises(ValueError, match="0 photos listed"):
        retrieval_grid(pictures, unlisted, [0], tmp_path / "a.png")


def test_selection():
    better = np.array([0, 5, 2, 5, 0, 1], np.int32)
    ranking = Ranking(better, 0 * better, 0 * better + 9, np.zeros((6, 1), np.int32), np.zeros((6, 1), np.float32))
    np.testing.assert_array_equal(select_queries(ranking, 3, rule="hardest"), [1, 3, 2])
    drawn = select_queries(ranking, 4, seed=1)
    np.testing.assert_array_equal(drawn, select_queries(ranking, 4, seed=1))
    assert len(set(drawn.tolist())) == 4
    np.testing.assert_array_equal(drawn, np.sort(drawn))
    np.testing.assert_array_equal(select_queries(ranking, 100), np.arange(6))
    with pytest.raises(ValueError, match="'random' or 'hardest'"):
        select_queries(ranking, 1, rule="best")


def test_leaves_matplotlib_state_alone():
    code = "import effnet_jax.figures.grid, sys; assert not [m for m in sys.modules if m.startswith('matplotlib')]"
    subprocess.run([sys.executable, "-c", code], check=True)
