"""A training folder drawn from photos: what is in it, what is left out of it, and that it is whole or not there."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny import write_photos

from effnet_jax.config import PenConfig
from effnet_jax.data import draw_folder as module
from effnet_jax.data.draw_folder import draw_folder
from effnet_jax.data.folders import read_folder
from effnet_jax.data.loading import load_split
from effnet_jax.data.problems import DataError


@pytest.fixture
def photos(tmp_path):
    write_photos(tmp_path / "photos", range(12))
    write_photos(tmp_path / "photos" / "more", range(20, 23), extension="jpg")
    return tmp_path / "photos"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_trains(photos, tmp_path):
    written = draw_folder([photos], tmp_path / "out", per_photo=2)
    assert (written.photos, written.sketches, written.left_out) == (15, 30, ())
    assert names(tmp_path / "out") == ["contact_sheet.png", "drawn.json", "trainA", "trainB"]
    parts = [
        load_split("sketch_photo_folder", name, source_dir=tmp_path / "out", tfds_dir=tmp_path / "tfds")
        for name in ("train", "test")
    ]
    assert [(len(part.photo_ids), len(part.sketch_ids), part.drawn) for part in parts] == [
        (12, 24, True), (3, 6, True),
    ]  # fmt: skip
    assert {tag for part in parts for tag in part.tags} == {"drawn1", "drawn2"}


def test_photos_are_copied_byte_for_byte_and_drawings_have_their_shape(photos, tmp_path):
    Image.new("RGB", (300, 100), "white").save(photos / "wide.png")
    with Image.open(photos / "p000.png") as picture:
        wide = Image.new("RGB", (600, 200), "white")
        wide.paste(picture.resize((120, 120)), (100, 40))
        wide.save(photos / "wide.png")
    draw_folder([photos], tmp_path / "out")
    assert (tmp_path / "out/trainB/p003.png").read_bytes() == (photos / "p003.png").read_bytes()
    with Image.open(tmp_path / "out/trainA/wide_drawn1.png") as drawing:
        assert drawing.size == (768, 256)
        ink = np.asarray(drawing.convert("L")) < 128
    assert 0.001 < ink.mean() < 0.2


def test_seed_and_pen_decide_the_drawings(photos, tmp_path):
    def drawing(name, **options):
        draw_folder([photos / "p001.png"], tmp_path / name, **options)
        return (tmp_path / name / "trainA" / "p001_drawn1.png").read_bytes()

    first = drawing("a")
    assert drawing("b") == first
    assert drawing("c", seed=1) != first
    assert drawing("d", pen=PenConfig(thickness=(2.0, 2.0))) != first


def test_photos_of_one_name_get_ids_of_their_own(tmp_path):
    for place in ("red/shoe", "blue/shoe", "blue"):
        write_photos(tmp_path / "photos" / place, [len(place)])
        (tmp_path / "photos" / place / f"p{len(place):03d}.png").rename(tmp_path / "photos" / place / "front.png")
    (tmp_path / "photos" / "red" / "shoe" / "front.png").rename(tmp_path / "photos" / "red" / "shoe" / "FRONT.png")
    written = draw_folder([tmp_path / "photos"], tmp_path / "out")
    assert written.photos == 3
    ids = [name.rsplit(".", 1)[0] for name in names(tmp_path / "out/trainB")]
    assert len({photo_id.casefold() for photo_id in ids}) == 3  # also where the file system does not tell case
    kept = json.loads((tmp_path / "out/drawn.json").read_text())["photos"]
    assert len({*kept.values()}) == 3
    for photo_id, path in kept.items():
        (copy,) = (tmp_path / "out/trainB").glob(f"{photo_id}.*")
        with open(path, "rb") as original:
            assert copy.read_bytes() == original.read()


def test_what_cannot_be_drawn_is_named_and_left_out(photos, tmp_path):
    Image.new("RGB", (50, 50), "white").save(photos / "blank.png")
    (photos / "cut.png").write_bytes((photos / "p000.png").read_bytes()[:60])
    (photos / "copy.png").write_bytes((photos / "p003.png").read_bytes())
    written = draw_folder([photos], tmp_path / "out")
    reasons = {path.rsplit("/", 1)[-1]: reason for path, reason in written.left_out}
    assert written.photos == 15 and reasons.keys() == {"blank.png", "cut.png", "p003.png"}
    assert "no edges" in reasons["blank.png"] and "a copy of" in reasons["p003.png"]
    assert sorted(json.loads((tmp_path / "out/drawn.json").read_text())["left_out"]) == sorted(
        map(list, written.left_out)
    )


def test_a_photo_of_another_extension_gets_one_that_training_reads(photos, tmp_path):
    (photos / "p000.png").rename(photos / "p000.jfif")
    draw_folder([photos / "p000.jfif", photos / "p001.png"], tmp_path / "out")
    assert names(tmp_path / "out/trainB") == ["p000.jpg", "p001.png"]
    assert len(read_folder(tmp_path / "out")["train"].photos) == 2


def test_nothing_half_written_is_left(photos, tmp_path, monkeypatch):
    real, calls = module.encode_png, []

    def full(image):
        calls.append(1)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")
        return real(image)

    monkeypatch.setattr(module, "encode_png", full)
    with pytest.raises(OSError, match="No space left"):
        draw_folder([photos], tmp_path / "out")
    assert names(tmp_path) == ["photos"]


def test_taken_folders_and_photos_that_none_can_draw_are_refused(photos, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="taken"):
        draw_folder([photos], tmp_path / "taken")
    assert names(tmp_path / "taken") == ["mine.txt"]
    Image.new("RGB", (50, 50), "white").save(tmp_path / "blank.png")
    with pytest.raises(DataError, match=r"not one photo can be drawn; nothing was written\.\n .*blank\.png: no edges"):
        draw_folder([tmp_path / "blank.png"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_sheet_shows_photos_over_their_drawings(photos, tmp_path):
    draw_folder([photos], tmp_path / "out")
    with Image.open(tmp_path / "out/contact_sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    coloured = pixels.max(-1) - pixels.min(-1) > 20
    dark = pixels.max(-1) < 128
    cells = {"photo": slice(8, 168), "drawing": slice(176, 336)}  # of the first of two rows
    assert coloured[cells["photo"]].mean() > 0.05 and not coloured[cells["drawing"]].any()
    assert 0.001 < dark[cells["drawing"]].mean() < 0.1
