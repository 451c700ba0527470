import hashlib
import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from effnet_jax.data.folders import (
    DataError,
    FolderSplit,
    PhotoFile,
    SketchFile,
    choose_photos,
    read_folder,
    split_by_photo,
    split_hash,
    split_sketch_name,
)


def image_bytes(name: str) -> bytes:
    stream = io.BytesIO()
    file_format = {"jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP", "bmp": "BMP"}.get(
        name.rpartition(".")[2].lower(), "PNG"
    )
    colour = tuple(hashlib.sha256(name.encode()).digest()[:3])
    Image.new("RGB", (6, 5), colour).save(stream, format=file_format)
    return stream.getvalue()


def make(root: Path, **folders: list[str]) -> Path:
    for folder, names in folders.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).write_bytes(image_bytes(name))
    return root


def good(root: Path) -> Path:
    return make(
        root,
        trainA=["1_1.png", "1_2.png", "1_2_1.png", "9910-02-carbon_w70.PNG", "a.b_10.jpeg"],
        trainB=["1.jpg", "1_2.JPG", "9910-02-carbon.webp", "a.b.bmp", "never_drawn.png"],
        testA=["7_01.png"],
        testB=["7.png", "8.png"],
    )


def test_pairs_by_last_underscore_in_code_point_order(tmp_path):
    splits = read_folder(good(tmp_path))
    train = splits["train"]
    assert [(s.sketch_id, s.photo_id, s.tag) for s in train.sketches] == [
        ("1_1", "1", "1"),
        ("1_2", "1", "2"),
        ("1_2_1", "1_2", "1"),
        ("9910-02-carbon_w70", "9910-02-carbon", "w70"),
        ("a.b_10", "a.b", "10"),
    ]
    assert [p.photo_id for p in train.photos] == ["1", "1_2", "9910-02-carbon", "a.b", "never_drawn"]
    assert [p.photo_id for p in splits["test"].photos] == ["7", "8"]


def test_code_point_order_is_not_a_human_order(tmp_path):
    make(tmp_path, trainA=["10_1.png"], trainB=["10.png", "9.png", "Z.png", "a.png", "é.png", "B_.png"])
    assert [p.photo_id for p in read_folder(tmp_path)["train"].photos] == ["10", "9", "B_", "Z", "a", "é"]


def test_hashes_are_those_of_the_files(tmp_path):
    train = read_folder(good(tmp_path))["train"]
    lines = [
        f"{role} {file_id} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for role, file_id, path in [("sketch", s.sketch_id, s.path) for s in train.sketches]
        + [("photo", p.photo_id, p.path) for p in train.photos]
    ]
    assert train.sha256 == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    assert read_folder(tmp_path, check_images=False)["train"] == train


def test_leftovers_of_systems_are_ignored(tmp_path):
    good(tmp_path)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._1_1.png"):
        (tmp_path / "trainA" / name).write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("beside the folders nothing is looked at")
    assert len(read_folder(tmp_path)["train"].sketches) == 5


def test_folder_without_test_part(tmp_path):
    make(tmp_path, trainA=["1_1.png"], trainB=["1.png"])
    assert list(read_folder(tmp_path)) == ["train"]


def test_only_sketches_with_a_tag(tmp_path):
    good(tmp_path)
    (tmp_path / "testA" / "7_1.png").write_bytes(image_bytes("x.png"))
    splits = read_folder(tmp_path, tag="1")
    assert [s.sketch_id for s in splits["train"].sketches] == ["1_1", "1_2_1"]
    assert len(splits["train"].photos) == 5
    with pytest.raises(DataError, match="tagged 'zz'"):
        read_folder(tmp_path, tag="zz")


def test_one_error_names_every_offending_path(tmp_path):
    good(tmp_path)
    train_a, train_b, test_b = tmp_path / "trainA", tmp_path / "trainB", tmp_path / "testB"
    png = image_bytes("x.png")
    bad = {
        "no underscore": [train_a / "plain.png", train_a / "other.png"],
        "empty id": [train_a / "_1.png"],
        "empty tag": [train_a / "1_.png"],
        "sketch twice": [train_a / "1_1.jpg"],
        "photo twice": [train_b / "1_2.png"],
        "no photo": [train_a / "404_1.png", train_a / "7_1.png"],
        "unknown file": [train_a / "list.txt", train_b / "2.gif", train_b / "noextension"],
    }
    for paths in bad.values():
        for path in paths:
            path.write_bytes(png)
    (train_b / "folder").mkdir()
    (train_b / "link.png").symlink_to(tmp_path / "nowhere.png")
    (test_b / "e1.png").write_bytes(b"")
    (test_b / "e2.png").write_bytes(b"")
    (test_b / "text.png").write_bytes(b"this is not a picture")
    (test_b / "cut.jpg").write_bytes(image_bytes("x.jpg")[:-40])
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path)
    problems = caught.value.problems
    bad["sketch twice"].append(train_a / "1_1.png")
    bad["photo twice"].append(train_b / "1_2.JPG")
    bad["subfolder"] = [train_b / "folder"]
    bad["not a file"] = [train_b / "link.png"]
    bad["empty"] = [test_b / "e1.png", test_b / "e2.png"]
    bad["not an image"] = [test_b / "text.png"]
    assert {cause: sorted(paths) for cause, paths in problems.items() if cause != "damaged"} == {
        cause: sorted(map(str, paths)) for cause, paths in bad.items()
    }
    assert len(problems["damaged"]) == 1 and problems["damaged"][0].startswith(str(test_b / "cut.jpg"))
    message = str(caught.value)
    assert all(str(path) in message for paths in bad.values() for path in paths)
    assert pickle.loads(pickle.dumps(caught.value)).problems == problems


@pytest.mark.parametrize("absent", ["trainA", "trainB", "testA", "testB"])
def test_missing_folder(tmp_path, absent):
    root = good(tmp_path)
    (root / absent).rename(root / "elsewhere")
    with pytest.raises(DataError, match="missing folder") as caught:
        read_folder(root)
    assert str(root / absent) in str(caught.value) and "elsewhere" in str(caught.value)


def test_missing_root(tmp_path):
    with pytest.raises(DataError, match="the whole folder is missing"):
        read_folder(tmp_path / "none")


def test_zero_pairs(tmp_path):
    make(tmp_path, trainA=[], trainB=["1.png"])
    with pytest.raises(DataError, match="not one sketch with its photo"):
        read_folder(tmp_path)


def test_name_that_is_not_utf8(tmp_path):
    good(tmp_path)
    try:
        (tmp_path / "trainB" / "caf\udce9.png").write_bytes(image_bytes("x.png"))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(DataError, match="not UTF-8"):
        read_folder(tmp_path)


def test_names_with_pattern_characters(tmp_path):
    make(tmp_path, trainA=["x[1]_1.png", "y*_1.png"], trainB=["x[1].png", "y*.png"])
    assert [s.photo_id for s in read_folder(tmp_path)["train"].sketches] == ["x[1]", "y*"]


@given(st.text(min_size=1), st.text(st.characters(exclude_characters="_"), min_size=1))
def test_sketch_name_round_trip(photo_id, tag):
    assert split_sketch_name(f"{photo_id}_{tag}") == (photo_id, tag)


def whole(photos: dict[str, int]) -> FolderSplit:
    sketches = [
        SketchFile(f"{p}_{k}", p, str(k), Path(f"{p}_{k}.png")) for p, count in photos.items() for k in range(count)
    ]
    return FolderSplit("train", tuple(sketches), tuple(PhotoFile(p, Path(p)) for p in photos))


@given(
    st.dictionaries(st.text("abc123", min_size=1), st.integers(0, 3), min_size=2), st.floats(0.05, 0.95), st.integers()
)
def test_split_by_photo_is_disjoint_and_complete(photos, share, seed):
    split = whole(dict(sorted(photos.items())))
    if sum(count > 0 for count in photos.values()) < 2:
        with pytest.raises(DataError, match="two photos"):
            split_by_photo(split, share, seed)
        return
    train, test = split_by_photo(split, share, seed)
    assert train.sketches and test.sketches
    for part in (train, test):
        assert {s.photo_id for s in part.sketches} <= {p.photo_id for p in part.photos}
    assert sorted(p.photo_id for p in train.photos + test.photos) == sorted(photos)
    assert len(train.sketches) + len(test.sketches) == len(split.sketches)
    assert split_by_photo(split, share, seed) == (train, test)


def test_choice_of_photos_is_settled():
    ids = [f"{k:05d}" for k in range(20)]
    assert choose_photos(ids, 0.2, 0) == choose_photos(reversed(ids), 0.2, 0)
    assert choose_photos(ids, 0.2, 0) == ("00005", "00008", "00014", "00018")
    assert choose_photos(ids, 0.2, 0) != choose_photos(ids, 0.2, 1)
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        choose_photos(ids, 1.5, 0)


def test_split_hash_is_what_the_shell_computes(tmp_path):
    lines = ["sketch b_1 22", "photo b 11", "photo é 33", "photo Z 44"]
    path = tmp_path / "lines"
    path.write_text("".join(f"{line}\n" for line in lines))
    shell = subprocess.run(
        ["sh", "-c", f"LC_ALL=C sort '{path}' | sha256sum"], capture_output=True, check=True, text=True
    )
    assert split_hash(lines) == shell.stdout.split()[0]


def test_runs_without_jax_and_tfds():
    unwanted = ("jax", "tensorflow_datasets", "grain")
    code = f"import sys, effnet_jax.data.folders; print([m for m in {unwanted} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_many_files_are_read_in_threads(tmp_path):
    make(tmp_path, trainA=[f"{k}_1.png" for k in range(200)], trainB=[f"{k}.png" for k in range(200)])
    assert len(read_folder(tmp_path)["train"].sketches) == 200
    assert np.unique([s.sha256 for s in read_folder(tmp_path)["train"].sketches]).size == 200
