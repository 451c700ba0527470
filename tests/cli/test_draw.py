import json

import pytest
from tiny import write_photos


@pytest.fixture
def photos(tmp_path):
    write_photos(tmp_path / "photos", range(3))
    return tmp_path / "photos"


def test_it_says_where_to_look_and_what_is_few(command, photos, tmp_path):
    (photos / "cut.png").write_bytes(b"\x89PNG\r\n")
    status, out, err = command("draw", photos, "--out", tmp_path / "out", "--per-photo", 2)
    assert status == 0
    assert f"6 sketches of 3 photos in {tmp_path / 'out'}; look at {tmp_path / 'out' / 'contact_sheet.png'}" in out
    assert f"left out: {photos / 'cut.png'}: " in out
    assert "3 photos are few: training on them needs 40" in err


def test_json_and_the_pen(command, photos, tmp_path):
    arguments = ("--pen", "stroke_loss=0.1,0.4", "--pen", "shift=2", "--json")
    status, out, _ = command("draw", photos, "--out", tmp_path / "out", *arguments)
    assert status == 0
    assert json.loads(out) == {"out": str(tmp_path / "out"), "photos": 3, "sketches": 3, "left_out": []}
    pen = json.loads((tmp_path / "out" / "drawn.json").read_text())["pen"]
    assert pen["stroke_loss"] == [0.1, 0.4] and pen["shift"] == 2.0


@pytest.mark.parametrize(("pen", "message"), [
    ("stroke_loss", "--pen stroke_loss: give a field and its numbers"),
    ("stroke_loss=much", "--pen stroke_loss=much: give a field and its numbers"),
    ("colour=1", "colour"),
    ("stroke_loss=0.4,0.1", "pen.stroke_loss=(0.4, 0.1) needs two numbers, 0 <= low <= high"),
    ("stroke_loss=0,2", "pen.stroke_loss=(0.0, 2.0) is a share, 0..1"),
    ("bend_width=0,1", "pen.bend_width=(0.0, 1.0) needs two numbers, 2 <= low <= high"),
    ("shift=-1", "pen.shift=-1.0 must not be negative"),
    ("thickness=1", "pen.thickness"),
])  # fmt: skip
def test_a_pen_that_cannot_be_is_refused(command, photos, tmp_path, pen, message):
    status, _, err = command("draw", photos, "--out", tmp_path / "out", "--pen", pen)
    assert status == 1 and message in err
    assert not (tmp_path / "out").exists()


def test_photos_that_are_not_there(command, tmp_path):
    status, _, err = command("draw", tmp_path / "none", "--out", tmp_path / "out")
    assert status == 1 and "none" in err and not (tmp_path / "out").exists()
