import shutil

import numpy as np
import pytest
from picture_folder import as_seen, make_folder, write

from effnet_jax.data.loading import load_split
from effnet_jax.data.problems import DataError


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
