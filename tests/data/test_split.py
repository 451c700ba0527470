import hashlib
import io
import json
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effnet_jax.data import built
from effnet_jax.data.folders import DataError
from effnet_jax.data.split import load_split


def write(path: Path, seed: int, mode: str = "RGB", size: tuple[int, int] = (6, 5)) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def make_folder(root: Path, test: bool = True) -> Path:
    names = {
        "trainA": ["1_1.png", "1_2.png", "1_2_1.png", "x.y_10.jpg"],
        "trainB": ["1.jpg", "1_2.png", "x.y.bmp", "never_drawn.png"],
    }
    if test:
        names |= {"testA": ["7_01.png", "8_01.png"], "testB": ["7.png", "8.png", "9.png"]}
    seed = 0
    for folder, files in names.items():
        for name in files:
            seed += 1
            write(root / folder / name, seed, "L" if folder == "trainA" and name == "1_1.png" else "RGB")
    write(root / "trainA" / "1_2.png", 99, "RGBA")
    return root


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "my photos")


@pytest.fixture
def open_split(tmp_path, folder):
    def open_it(split="train", source=folder, **options):
        return load_split("sketch_photo_folder", split, source_dir=source, tfds_dir=tmp_path / "tfds", **options)

    return open_it


def as_seen(path: Path) -> np.ndarray:
    image = Image.open(path).convert("RGBA")
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def test_split_holds_every_sketch_and_the_whole_gallery(open_split, folder):
    train = open_split()
    assert (train.dataset, train.name) == ("sketch_photo_folder", "train")
    assert train.sketch_ids == ("1_1", "1_2", "1_2_1", "x.y_10")
    assert train.tags == ("1", "2", "1", "10")
    assert train.photo_ids == ("1", "1_2", "never_drawn", "x.y")
    assert train.photo_index.dtype == np.int32 and train.photo_index.tolist() == [0, 0, 1, 3]
    for i, name in enumerate(["1_1.png", "1_2.png", "1_2_1.png", "x.y_10.jpg"]):
        np.testing.assert_array_equal(train.sketch(i), as_seen(folder / "trainA" / name))
    for j, name in enumerate(["1.jpg", "1_2.png", "never_drawn.png", "x.y.bmp"]):
        np.testing.assert_array_equal(train.photo(j), as_seen(folder / "trainB" / name))
    test = open_split("test")
    assert test.photo_ids == ("7", "8", "9") and test.sketch_ids == ("7_01", "8_01")
    np.testing.assert_array_equal(test.photo(2), as_seen(folder / "testB" / "9.png"))


def test_split_hash_is_that_of_the_source_files(open_split, folder):
    lines = []
    for role, name in (("sketch", "testA"), ("photo", "testB")):
        lines += [f"{role} {p.stem} {hashlib.sha256(p.read_bytes()).hexdigest()}\n" for p in (folder / name).iterdir()]
    assert open_split("test").sha256 == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def test_select_photos(open_split):
    train = open_split()
    part = train.select_photos(["x.y", "1"], "validation")
    assert part.name == "validation" and part.photo_ids == ("1", "x.y")
    assert part.sketch_ids == ("1_1", "1_2", "x.y_10") and part.photo_index.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(part.sketch(2), train.sketch(3))
    np.testing.assert_array_equal(part.photo(1), train.photo(3))
    assert part.sha256 != train.sha256
    assert train.select_photos(train.photo_ids, "train").sha256 == train.sha256
    narrower = part.select_photos({"x.y"}, "one")
    np.testing.assert_array_equal(narrower.sketch(0), train.sketch(3))
    assert train.select_photos(["never_drawn"], "undrawn").photo_index.shape == (0,)
    with pytest.raises(DataError, match="no photos named 404, 405"):
        train.select_photos(["1", "405", "404"], "validation")


def _photo_sum(split, j):
    return int(split.photo(j).sum()), "jax" in sys.modules


def test_split_works_in_other_processes_and_threads(open_split):
    train = open_split()
    copy = pickle.loads(pickle.dumps(train))
    np.testing.assert_array_equal(copy.photo(2), train.photo(2))
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda k: int(copy.photo(k % 4).sum()), range(200)))
    assert sums == [int(train.photo(k % 4).sum()) for k in range(200)]
    with multiprocessing.get_context("spawn").Pool(1) as processes:
        assert processes.apply(_photo_sum, (train, 1)) == (int(train.photo(1).sum()), False)


def times(root):
    return {path: path.stat().st_mtime_ns for path in sorted(root.rglob("*.array_record*"))}


def test_built_once_and_again_only_when_a_file_changed(open_split, folder, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        first = open_split()
    assert {record.name for record in caplog.records} == {"effnet_jax.data.built"}  # TFDS is quiet
    before = times(tmp_path / "tfds")
    assert len(before) == 4
    open_split("test")
    assert times(tmp_path / "tfds") == before
    os.utime(folder / "trainB" / "1.jpg", (1, 1))
    with caplog.at_level(logging.INFO):
        open_split()
    assert "hashing them" in caplog.text and times(tmp_path / "tfds") == before
    caplog.clear()
    with caplog.at_level(logging.INFO):
        open_split()
    assert "hashing them" not in caplog.text  # the new time was noted
    write(folder / "trainB" / "1.jpg", 1234)
    second = open_split()
    assert times(tmp_path / "tfds") != before
    assert second.sha256 != first.sha256
    np.testing.assert_array_equal(second.photo(0), as_seen(folder / "trainB" / "1.jpg"))
    (folder / "trainB" / "never_drawn.png").unlink()
    assert open_split().photo_ids == ("1", "1_2", "x.y")


def test_a_split_of_a_set_that_was_rebuilt_is_refused(open_split, folder):
    stale = pickle.dumps(open_split())
    write(folder / "trainA" / "1_1.png", 77)
    open_split()
    with pytest.raises(DataError, match="rebuilt"):
        pickle.loads(stale).sketch(0)


def test_nothing_is_written_for_bad_data(open_split, folder, tmp_path):
    (folder / "trainA" / "plain.png").write_bytes(b"x")
    (folder / "testB" / "7.png").write_bytes((folder / "testB" / "7.png").read_bytes()[:60])
    with pytest.raises(DataError) as caught:
        open_split()
    assert "plain.png" in str(caught.value) and "7.png" in str(caught.value)
    assert not (tmp_path / "tfds").exists()


def test_a_change_for_the_worse_keeps_the_built_set(open_split, folder, tmp_path):
    open_split()
    before = times(tmp_path / "tfds")
    data = (folder / "testB" / "7.png").read_bytes()
    (folder / "testB" / "7.png").write_bytes(data[:60])
    with pytest.raises(DataError, match="cut off"):
        open_split()
    assert times(tmp_path / "tfds") == before
    (folder / "testB" / "7.png").write_bytes(data)
    open_split()
    assert times(tmp_path / "tfds") == before


def test_source_that_is_gone(open_split, folder, tmp_path, caplog):
    sha256 = open_split().sha256
    shutil.rmtree(folder)
    assert open_split().sha256 == sha256
    assert "using the set built before" in caplog.text
    shutil.rmtree(tmp_path / "tfds")
    with pytest.raises(DataError) as caught:
        open_split()
    for part in (str(folder), "EFFNET_DATA_DIR", str(tmp_path / "tfds" / "downloads" / "manual"), "trainA"):
        assert part in str(caught.value)


def test_a_set_that_is_not_whole_is_built_again(open_split, tmp_path):
    open_split()
    next((tmp_path / "tfds").rglob("*test_gallery*")).unlink()
    np.testing.assert_array_equal(open_split("test").photo(0).shape, (5, 6, 3))
    assert len(times(tmp_path / "tfds")) == 4


def test_folders_do_not_collide(open_split, tmp_path):
    one, two = make_folder(tmp_path / "a" / "set"), make_folder(tmp_path / "b" / "set")
    write(two / "testB" / "7.png", 555)
    first, second = open_split("test", one), open_split("test", two)
    assert first.sha256 != second.sha256
    np.testing.assert_array_equal(first.photo(0), as_seen(one / "testB" / "7.png"))
    np.testing.assert_array_equal(second.photo(0), as_seen(two / "testB" / "7.png"))


def test_folder_without_test_part_is_divided_by_photo(open_split, tmp_path):
    source = tmp_path / "whole"
    for k in range(10):
        write(source / "trainA" / f"{k}_a.png", k)
        write(source / "trainA" / f"{k}_b.png", 100 + k)
        write(source / "trainB" / f"{k}.png", 200 + k)
    train, test = open_split("train", source), open_split("test", source)
    assert (len(train.photo_ids), len(test.photo_ids)) == (8, 2)
    assert (len(train.sketch_ids), len(test.sketch_ids)) == (16, 4)
    assert set(train.photo_ids) | set(test.photo_ids) == {str(k) for k in range(10)}
    others = [open_split("test", source, split_seed=seed).photo_ids for seed in (0, 1, 2)]
    assert others[0] == test.photo_ids and len(set(others)) > 1
    shutil.rmtree(source)
    assert open_split("test", source).sha256 == test.sha256


def test_places_of_the_source(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.delenv("EFFNET_DATA_DIR", raising=False)
    manual = make_folder(tmp_path / "tfds" / "downloads" / "manual" / "sketch_photo_folder")
    from_manual = load_split("sketch_photo_folder", "test")
    home = make_folder(tmp_path / "home" / "sketch_photo_folder")
    write(home / "testB" / "7.png", 1)
    monkeypatch.setenv("EFFNET_DATA_DIR", str(tmp_path / "home"))
    from_home = load_split("sketch_photo_folder", "test")
    np.testing.assert_array_equal(from_manual.photo(0), as_seen(manual / "testB" / "7.png"))
    np.testing.assert_array_equal(from_home.photo(0), as_seen(home / "testB" / "7.png"))
    with pytest.raises(DataError, match="none of the places"):
        load_split("sketch_photo_folder", "test", source_dir=tmp_path / "mistyped")


def test_wrong_names(tmp_path):
    with pytest.raises(DataError, match="'train' and 'test', not 'val'"):
        load_split("qmul_chair_v1", "val", tfds_dir=tmp_path)
    with pytest.raises(DataError, match=r"no data set 'chairs'; there are clothes_v1, .*sketch_photo_folder"):
        load_split("chairs", "train", tfds_dir=tmp_path)
    with pytest.raises(DataError, match="there is qmul_shoe_v1/single, qmul_shoe_v1/all"):
        load_split("qmul_shoe_v1/most", "train", source_dir=tmp_path, tfds_dir=tmp_path)
    with pytest.raises(DataError, match="there is only qmul_chair_v1"):
        load_split("qmul_chair_v1/all", "train", source_dir=tmp_path, tfds_dir=tmp_path)


BUILD = """
import sys
from effnet_jax.data import built, source
import tfds_builders.base as base
slow = base.plain_encoding
def plain_encoding(data):
    import time
    time.sleep(0.5)
    return slow(data)
base.plain_encoding = plain_encoding
print("ready", flush=True)
source.load_split("sketch_photo_folder", "train", source_dir=sys.argv[1], tfds_dir=sys.argv[2])
"""


def test_a_killed_build_never_looks_whole(open_split, folder, tmp_path):
    open_split()
    write(folder / "trainA" / "1_1.png", 4321)
    described = built.read_description(next((tmp_path / "tfds").rglob("dataset_info.json")).parent)
    run = subprocess.Popen([sys.executable, "-c", BUILD, folder, tmp_path / "tfds"], stdout=subprocess.PIPE)
    assert run.stdout is not None
    run.stdout.readline()
    deadline = time.monotonic() + 60
    while not any(f.name.startswith("incomplete.") for f in (tmp_path / "tfds").rglob("incomplete.*")):
        assert time.monotonic() < deadline and run.poll() is None
        time.sleep(0.02)
    time.sleep(0.7)
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    left = [f for f in (tmp_path / "tfds").rglob("incomplete.*")]
    assert left
    whole = [f.parent for f in (tmp_path / "tfds").rglob("dataset_info.json") if built.read_description(f.parent)]
    assert len(whole) == 1 and built.read_description(whole[0]) == described  # the old set, untouched
    np.testing.assert_array_equal(open_split().sketch(0), as_seen(folder / "trainA" / "1_1.png"))
    assert not list((tmp_path / "tfds").rglob("incomplete.*"))


def test_two_builds_at_once(folder, tmp_path):
    code = (
        "import sys; from effnet_jax.data.split import load_split;"
        "print(load_split('sketch_photo_folder', 'train', source_dir=sys.argv[1], tfds_dir=sys.argv[2]).sha256)"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "tfds")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {run.communicate(timeout=120)[0].strip() for run in runs}
    assert len(answers) == 1 and all(run.returncode == 0 for run in runs)


def test_records_are_in_the_order_of_the_ids(open_split):
    train = open_split()
    first, second = train.files._open()
    assert [record["sketch_id"].decode() for record in first] == list(train.sketch_ids)
    assert [record["photo_id"].decode() for record in second] == list(train.photo_ids)


def test_metadata_is_plain_json(open_split, tmp_path):
    open_split()
    path = next((tmp_path / "tfds").rglob("metadata.json"))
    assert set(json.loads(path.read_text())["splits"]) == {"train", "test"}


def test_photo_that_changes_while_building_is_noticed(folder, tmp_path, monkeypatch):
    import tfds_builders.base as base

    read_folder = base.read_folder

    def read_then_change(*args, **options):
        found = read_folder(*args, **options)
        write(folder / "testB" / "9.png", int(time.monotonic_ns()) % 2**31)
        return found

    monkeypatch.setattr(base, "read_folder", read_then_change)
    with pytest.raises(DataError, match=r"9\.png changed while"):
        load_split("sketch_photo_folder", "train", source_dir=folder, tfds_dir=tmp_path / "tfds")
    assert not list((tmp_path / "tfds").rglob("incomplete.*"))


def test_image_stored_as_it_is_or_as_png(open_split, folder):
    train = open_split()
    assert train.files.photo(0) == (folder / "trainB" / "1.jpg").read_bytes()
    assert train.files.sketch(0) == (folder / "trainA" / "1_1.png").read_bytes()
    assert Image.open(io.BytesIO(train.files.sketch(1))).mode == "RGB"
