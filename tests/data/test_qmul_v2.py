import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effnet_jax.data.folders import read_folder
from effnet_jax.data.problems import DataError
from effnet_jax.data.qmul_archive import find_parts, open_archive
from effnet_jax.data.qmul_v2 import prepare_qmul_v2
from effnet_jax.images.decode import decode_rgb

TRAIN, TEST = ("2490312525", "29028744_v1", "9910-02-carbon"), ("100", "1135045020")


def svg(seed: int, width: int = 800, height: int = 800) -> bytes:
    points = np.random.default_rng(seed).integers(100, 700, (4, 4))
    paths = "".join(
        f'<path d="M{a},{b} L{c},{d}" stroke="black" stroke-width="3" fill="none"/>' for a, b, c, d in points
    )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}{paths}</svg>'.encode()


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def archive(prefix: str = "ShoeV2/", end: str = "\r\n") -> dict[str, bytes]:
    files, lists = {}, {}
    for split, ids in (("train", TRAIN), ("test", TEST)):
        lists[f"photo_{split}.txt"] = [f"{photo_id}.png" for photo_id in ids]
        lists[f"sketch_{split}.txt"] = [f"{photo_id}_{k}.svg" for photo_id in ids for k in (1, 2)]
        for number, photo_id in enumerate(ids):
            files[f"ShoeV2_photo/{photo_id}.png"] = png(number + len(split))
            files[f"ShoeV2_photo_edge/{photo_id}.png"] = png(99)
            for k in (1, 2):
                files[f"ShoeV2_sketch/{photo_id}_{k}.svg"] = svg(10 * number + k + 100 * len(split))
    files |= {name: (end.join(names) + end).encode() for name, names in lists.items()}
    return {f"{prefix}{name}": data for name, data in files.items()}


def as_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("__MACOSX/ShoeV2/._photo_train.txt", b"leftover")
        for name, data in files.items():
            opened.writestr(name, data)
    return path


def tree(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


EXPECTED = sorted(
    f"{split}{part}"
    for split, ids in (("train", TRAIN), ("test", TEST))
    for photo_id in ids
    for part in (f"A/{photo_id}_1.png", f"A/{photo_id}_2.png", f"B/{photo_id}.png")
)


@pytest.mark.parametrize("form", ["zip", "folder", "flat folder", "unix lists"])
def test_an_archive_becomes_the_layout(tmp_path, form):
    files = archive("" if form == "flat folder" else "ShoeV2/", "\n" if form == "unix lists" else "\r\n")
    path = as_zip(tmp_path / "a.zip", files) if form == "zip" else as_folder(tmp_path / "a", files)
    parts, counts = prepare_qmul_v2(path, tmp_path / "out", size=64)
    assert tree(tmp_path / "out") == EXPECTED
    assert counts == {"train": (6, 3), "test": (4, 2)}
    assert parts.lacking == ()
    splits = read_folder(tmp_path / "out")
    assert {name: (len(s.sketches), len(s.photos)) for name, s in splits.items()} == counts
    original = next(data for name, data in files.items() if name.endswith("ShoeV2_photo/100.png"))
    assert (tmp_path / "out" / "testB" / "100.png").read_bytes() == original


def test_sketches_are_dark_lines_on_white_of_the_asked_size(tmp_path):
    files = archive() | {
        "ShoeV2/ShoeV2_sketch/100_1.svg": svg(1, 800, 400),
        "ShoeV2/ShoeV2_sketch/100_2.svg": svg(2, 300, 900),
    }
    prepare_qmul_v2(as_folder(tmp_path / "a", files), tmp_path / "out", size=96)
    shapes = {name: decode_rgb(tmp_path / "out" / "testA" / f"100_{name}.png").shape for name in "12"}
    assert shapes == {"1": (48, 96, 3), "2": (96, 32, 3)}
    drawn = decode_rgb(tmp_path / "out" / "testA" / "1135045020_1.png")
    assert drawn.shape == (96, 96, 3)
    assert (drawn[0] == 255).all() and drawn.min() < 150 and drawn.mean() > 200


def test_lines_lie_where_the_file_says(tmp_path):
    head = '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100">'
    drawing = f'{head}<rect x="10" y="60" width="50" height="20"/></svg>'.encode()
    files = archive() | {"ShoeV2/ShoeV2_sketch/100_1.svg": drawing}
    prepare_qmul_v2(as_folder(tmp_path / "a", files), tmp_path / "out", size=100)
    expected = np.full((100, 100, 3), 255, np.uint8)
    expected[60:80, 10:60] = 0
    np.testing.assert_array_equal(decode_rgb(tmp_path / "out" / "testA" / "100_1.png"), expected)


def test_rendered_sketches_beside_the_svg_are_not_taken(tmp_path):
    files = archive()
    files |= {name.replace(".svg", ".png"): png(5) for name in files if name.endswith(".svg")}
    prepare_qmul_v2(as_folder(tmp_path / "a", files), tmp_path / "out", size=64)
    assert decode_rgb(tmp_path / "out" / "trainA" / "29028744_v1_1.png").shape == (64, 64, 3)


def test_sketches_that_are_pictures_already_are_copied(tmp_path):
    files = {
        name.replace(".svg", ".png"): png(hash(name) % 99) if ".svg" in name else data
        for name, data in archive().items()
    }
    prepare_qmul_v2(as_folder(tmp_path / "a", files), tmp_path / "out")
    assert tree(tmp_path / "out") == EXPECTED
    assert decode_rgb(tmp_path / "out" / "trainA" / "29028744_v1_1.png").shape == (12, 16, 3)


def test_sketches_are_divided_like_their_photos_where_they_have_no_lists(tmp_path):
    files = {name: data for name, data in archive().items() if "sketch_t" not in name}
    parts, counts = prepare_qmul_v2(as_folder(tmp_path / "a", files), tmp_path / "out", size=64)
    assert counts == {"train": (6, 3), "test": (4, 2)}
    assert tree(tmp_path / "out") == EXPECTED
    assert any("divided like their photos" in line for line in parts.found)


def test_what_is_missing_is_named_and_nothing_is_written(tmp_path):
    files = archive()
    for name in ("ShoeV2_sketch/100_2.svg", "ShoeV2_photo/9910-02-carbon.png"):
        del files[f"ShoeV2/{name}"]
    files["ShoeV2/sketch_train.txt"] += b"100_9.svg\r\nplain.svg\r\n"
    files["ShoeV2/photo_test.txt"] += b"2490312525.png\r\n"
    root = as_folder(tmp_path / "a", files)
    with pytest.raises(DataError) as caught:
        prepare_qmul_v2(root, tmp_path / "out", size=64)
    for line in (
        "sketch without a file: 100_2 (test)",
        "photo without a file: 9910-02-carbon (train)",
        "photo in both lists: 2490312525",
        "sketch without a file: 100_9 (train)",
        "sketch whose photo is not in the list of its split: 100_9 (train)",
        "sketch name with no underscore: plain (train)",
    ):
        assert line in str(caught.value)
    assert os.listdir(tmp_path) == ["a"]
    parts, counts = prepare_qmul_v2(root, tmp_path / "out", size=64, allow_missing=True)
    assert counts == {"train": (2, 1), "test": (3, 3)}
    assert len(parts.lacking) >= 6
    assert len(tree(tmp_path / "out")) == 9


def test_sketches_that_cannot_be_drawn_are_named(tmp_path):
    blank = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    files = archive() | {"ShoeV2/ShoeV2_sketch/100_1.svg": b"<svg", "ShoeV2/ShoeV2_sketch/100_2.svg": blank}
    root = as_folder(tmp_path / "a", files)
    with pytest.raises(DataError, match=r"(?s)100_1\.svg.*100_2\.svg: nothing is drawn"):
        prepare_qmul_v2(root, tmp_path / "out", size=64)
    assert os.listdir(tmp_path) == ["a"]
    _, counts = prepare_qmul_v2(root, tmp_path / "out", size=64, allow_missing=True)
    assert counts == {"train": (6, 3), "test": (2, 2)}


def test_everything_that_is_left_out_is_named_at_once(tmp_path):
    files = archive() | {"ShoeV2/ShoeV2_sketch/100_1.svg": b"<svg"}
    del files["ShoeV2/ShoeV2_photo/9910-02-carbon.png"]
    files["ShoeV2/photo_test.txt"] += b"2490312525.png\r\n"
    root = as_folder(tmp_path / "a", files)
    with pytest.raises(DataError, match=r"(?s)photo without a file: 9910-02-carbon .*cannot be drawn: .*100_1\.svg"):
        prepare_qmul_v2(root, tmp_path / "out", size=64)
    assert os.listdir(tmp_path) == ["a"]
    parts, counts = prepare_qmul_v2(root, tmp_path / "out", size=64, allow_missing=True)
    gone = {f"sketch whose photo is left out: {photo}_{k} (train)" for photo in (TRAIN[0], TRAIN[2]) for k in (1, 2)}
    assert gone == {line for line in parts.lacking if "left out" in line}
    assert counts == {"train": (2, 1), "test": (3, 3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("ShoeV2/photo_test.txt"), r"not found: photo_test\.txt"),
        (lambda files: files.pop("ShoeV2/sketch_test.txt"), r"not found: sketch_test\.txt"),
        (lambda files: files.update({"old/photo_test.txt": b""}), "more than one list"),
        (
            lambda files: [files.pop(n) for n in [*files] if "_photo" in n and n.endswith("png")],
            "no photos of the lists",
        ),
        (lambda files: [files.pop(n) for n in [*files] if n.endswith("svg")], "no sketches of the lists"),
    ],
)
def test_a_part_that_is_missing_altogether(tmp_path, change, message):
    files = archive()
    change(files)
    with pytest.raises(DataError, match=message) as caught, open_archive(as_folder(tmp_path / "a", files)) as opened:
        find_parts(opened)
    assert "it holds" in str(caught.value) or "The archive holds" in str(caught.value)


def test_no_archive(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(DataError, match="no folder and no whole zip file"):
        prepare_qmul_v2(tmp_path / "a.rar", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        prepare_qmul_v2(tmp_path / "b.zip", tmp_path / "out")
    with pytest.raises(DataError, match="between 32 and 4096"):
        prepare_qmul_v2(tmp_path / "a.rar", tmp_path / "out", size=8)


def test_a_damaged_zip_file_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in archive().items():
            made.writestr(str(name), data)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for start in range(200, len(data) // 2, 200):
        data[start : start + 20] = bytes(20)
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(DataError, match=r"b\.zip is damaged or cut off .*fetch it again"):
        prepare_qmul_v2(tmp_path / "b.zip", tmp_path / "out", size=64)
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_taken_is_refused(tmp_path):
    root = as_folder(tmp_path / "a", archive())
    with pytest.raises(DataError, match="exists already"):
        prepare_qmul_v2(root, root, size=64)


def test_without_the_renderer_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(DataError, match=r'pip install -e "\.\[svg\]"'):
        prepare_qmul_v2(as_folder(tmp_path / "a", archive()), tmp_path / "out")
