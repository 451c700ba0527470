import hashlib
import multiprocessing
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from picture_folder import as_seen

from effnet_jax.data.problems import DataError


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
