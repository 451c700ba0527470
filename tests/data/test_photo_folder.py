import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effnet_jax.config import PenConfig
from effnet_jax.data import photo_folder
from effnet_jax.data.photo_folder import open_photos
from effnet_jax.data.problems import DataError

PEN = PenConfig()


def write_photo(path, seed, size=(70, 60)):
    """A photo with edges: some boxes of one colour each on white."""
    rng = np.random.default_rng(seed)
    photo = np.full((*size, 3), 255, np.uint8)
    for _ in range(3):
        top, left = rng.integers(5, 30, 2)
        photo[top : top + 25, left : left + 25] = rng.integers(0, 160, 3)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo).save(path)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "photos"
    for i in range(5):
        write_photo(root / f"{i}.png", i)
    write_photo(root / "deep" / "er" / "5.png", 5)
    return root


def test_a_split_of_drawings(folder, tmp_path):
    split = open_photos(folder, PEN, tmp_path / "cache")
    assert split.photo_ids == ("0.png", "1.png", "2.png", "3.png", "4.png", "deep/er/5.png")
    assert split.sketch_ids == tuple(f"{name}_drawn" for name in split.photo_ids)
    assert split.drawn and set(split.tags) == {"drawn"}
    np.testing.assert_array_equal(split.photo_index, np.arange(6))
    np.testing.assert_array_equal(split.photo(5), np.asarray(Image.open(folder / "deep/er/5.png")))
    first, again = split.sketch(2), split.sketch(2)
    np.testing.assert_array_equal(first, again)
    assert (first < 128).any() and np.median(first) == 255
    assert not np.array_equal(first, split.sketch(3))


def test_a_drawing_belongs_to_its_photo_and_not_to_its_place(folder, tmp_path):
    before = open_photos(folder, PEN, tmp_path / "cache")
    (folder / "0.png").unlink()
    after = open_photos(folder, PEN, tmp_path / "cache")
    np.testing.assert_array_equal(before.sketch(3), after.sketch(2))
    assert before.sketch_sha256[3] == after.sketch_sha256[2]


def test_the_hash_follows_the_pen_and_the_files(folder, tmp_path):
    first = open_photos(folder, PEN, tmp_path / "cache")
    assert first.sha256 == open_photos(folder, PEN, tmp_path / "other").sha256
    other = open_photos(folder, PenConfig(shift=9.0), tmp_path / "cache")
    assert other.sha256 != first.sha256 and other.photo_sha256 == first.photo_sha256
    write_photo(folder / "1.png", 77)
    assert open_photos(folder, PEN, tmp_path / "cache").sha256 != first.sha256


def test_what_cannot_be_used_is_left_out_and_named(folder, tmp_path, caplog):
    Image.new("RGB", (50, 50), "white").save(folder / "blank.png")
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:60])
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    (folder / "other.heic").write_bytes(b"x")
    with caplog.at_level(logging.WARNING):
        split = open_photos(folder, PEN, tmp_path / "cache")
    assert len(split.photo_ids) == 6 and "3.png" in split.photo_ids
    for words in ("2 photos are left out, no edges to draw", "blank.png, noise.png", "cut.png", "a copy of 3.png",
                  "other.heic"):  # fmt: skip
        assert words in caplog.text


def test_a_photo_is_looked_at_once(folder, tmp_path, monkeypatch):
    looked = []
    real = photo_folder._look_at
    monkeypatch.setattr(photo_folder, "_look_at", lambda photo, pen: looked.append(photo.path) or real(photo, pen))
    first = open_photos(folder, PEN, tmp_path / "cache")
    assert len(looked) == 6
    assert open_photos(folder, PEN, tmp_path / "cache").sha256 == first.sha256
    assert len(looked) == 6
    os.utime(folder / "2.png", (1, 1))
    open_photos(folder, PEN, tmp_path / "cache")
    assert looked[6:] == [str(folder / "2.png")]


def test_a_photo_that_could_not_be_opened_is_tried_again(folder, tmp_path, monkeypatch):
    real = Path.read_bytes

    def read(path):
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied")
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read)
        assert "2.png" not in open_photos(folder, PEN, tmp_path / "cache").photo_ids
    assert "2.png" in open_photos(folder, PEN, tmp_path / "cache").photo_ids


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b'{"a": []}'])
def test_a_damaged_record_is_made_anew(folder, tmp_path, content):
    first = open_photos(folder, PEN, tmp_path / "cache")
    (record,) = (tmp_path / "cache").iterdir()
    record.write_bytes(content)
    assert open_photos(folder, PEN, tmp_path / "cache").sha256 == first.sha256


@pytest.mark.parametrize("what", ["nothing there", "a file", "empty", "blank only"])
def test_a_folder_without_photos_is_refused(tmp_path, what):
    folder = tmp_path / "photos"
    if what == "a file":
        folder.write_bytes(b"x")
    elif what != "nothing there":
        folder.mkdir()
    if what == "blank only":
        Image.new("RGB", (50, 50)).save(folder / "blank.png")
    words = "is not a folder" if what in ("nothing there", "a file") else "not one photo"
    with pytest.raises(DataError, match=words):
        open_photos(folder, PEN, tmp_path / "cache")


def test_test_photos_are_left_out_by_their_very_files(folder, tmp_path, caplog):
    whole = open_photos(folder, PEN, tmp_path / "cache")
    test = whole.select_photos({"1.png", "4.png"}, "test")
    with caplog.at_level(logging.WARNING):
        rest = whole.without_photos_of(test)
    assert rest.photo_ids == ("0.png", "2.png", "3.png", "deep/er/5.png")
    assert "2 photos of photos are also test photos of photos, and are left out: 1.png, 4.png" in caplog.text
    assert rest.without_photos_of(test) is rest
