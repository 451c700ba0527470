import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_split import CountingFiles, fake_split

from effnet_jax.data import cache_files
from effnet_jax.data.cache import cached_images
from effnet_jax.images.preprocessing import resize
from effnet_jax.runtime import memory

SIZES = (8, 12)


@pytest.mark.parametrize("mode", ("ram", "disk", "none"))
def test_every_mode_gives_the_resized_pictures(tmp_path, mode):
    split = fake_split()
    cache = cached_images(split, SIZES, "bicubic", mode=mode, cache_dir=tmp_path)
    assert cache.mode == mode
    for size in SIZES:
        assert cache.sketches(size).shape == (11, size, size, 3)
        assert len(cache.photos(size)) == 5
        for i in range(11):
            np.testing.assert_array_equal(cache.sketches(size)[i], resize(split.sketch(i), size, "bicubic"))
        some = cache.photos(size)[np.array([4, 0, 4])]
        np.testing.assert_array_equal(some, [resize(split.photo(j), size, "bicubic") for j in (4, 0, 4)])
        np.testing.assert_array_equal(cache.photos(size)[3:9], cache.photos(size)[[3, 4]])
        taken = cache.take("photo", np.array([1, 2]), SIZES)
        np.testing.assert_array_equal(taken[size], cache.photos(size)[[1, 2]])


@pytest.mark.parametrize("mode", ("ram", "disk"))
def test_each_picture_is_decoded_once(tmp_path, mode):
    split = fake_split(files=CountingFiles)
    cache = cached_images(split, SIZES, mode=mode, cache_dir=tmp_path)
    cache.photos(8)[:]
    assert set(split.files.reads.values()) == {1} and len(split.files.reads) == 16


def test_a_second_run_reads_the_files_and_decodes_only_what_is_new(tmp_path):
    cached_images(fake_split(), (8,), mode="disk", cache_dir=tmp_path)
    split = fake_split(files=CountingFiles)
    cached_images(split, (8,), mode="disk", cache_dir=tmp_path)
    assert split.files.reads == {}
    cached_images(split, SIZES, mode="disk", cache_dir=tmp_path)
    assert set(split.files.reads.values()) == {1}
    assert len(list(tmp_path.glob("*.npy"))) == 4 and not list(tmp_path.glob("*.part"))


def test_other_files_filters_and_pillows_have_other_caches(tmp_path, monkeypatch):
    def paths(split, resample="bilinear"):
        return {cache_files.Store(tmp_path, "title", split.sha256, resample).path(("photo", 8))}

    known = paths(fake_split()) | paths(fake_split(), "bicubic") | paths(fake_split(seed=1))
    monkeypatch.setattr("PIL.__version__", "0.0")
    assert len(known | paths(fake_split())) == 4


def test_results_own_their_memory_and_the_cache_cannot_be_overwritten():
    cache = cached_images(fake_split(), (8,), mode="ram")
    batch = cache.sketches(8)[np.arange(4)]
    batch[:] = 0
    assert batch.flags.owndata and cache.sketches(8)[0].any()
    with pytest.raises(ValueError):
        cache.pixels["sketch", 8][0] = 0


def test_a_cut_file_is_made_anew(tmp_path):
    cached_images(fake_split(), (8,), mode="disk", cache_dir=tmp_path)
    for file in tmp_path.glob("*.npy"):
        file.write_bytes(file.read_bytes()[:-100])
    cache = cached_images(fake_split(), (8,), mode="disk", cache_dir=tmp_path)
    np.testing.assert_array_equal(cache.photos(8)[:], cached_images(fake_split(), (8,), mode="ram").photos(8)[:])


@pytest.mark.parametrize("mode", ("ram", "disk"))
def test_all_broken_pictures_are_named(tmp_path, mode):
    split = fake_split()
    files = dataclasses.replace(split.files, photos=list(split.files.photos))
    files.photos[1], files.photos[4] = b"no picture", b""
    with pytest.raises(ValueError, match=r"(?s)2 images of fake/all train.*photo 001: not an image.*photo 004: empty"):
        cached_images(dataclasses.replace(split, files=files), (8,), mode=mode, cache_dir=tmp_path)
    assert not list(tmp_path.glob("*.npy")) and not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("free", "space", "folder", "chosen"), [
    (4 * 3072, 0, True, "ram"), (4 * 3072 - 4, 2 * 3072, True, "disk"), (4 * 3072 - 4, 2 * 3072 - 2, True, "none"),
    (0, 1 << 40, False, "none")])  # fmt: skip
def test_auto_takes_the_first_that_fits(tmp_path, monkeypatch, free, space, folder, chosen):
    monkeypatch.setattr(memory, "free_memory", lambda: free)  # 16 images of 8 x 8 x 3 bytes are 3072
    monkeypatch.setattr(cache_files.Store, "free_space", lambda self: space)
    assert cached_images(fake_split(), (8,), mode="auto", cache_dir=tmp_path if folder else None).mode == chosen


def test_auto_counts_files_that_exist_as_fitting(tmp_path, monkeypatch):
    cached_images(fake_split(), (8,), mode="disk", cache_dir=tmp_path)
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    monkeypatch.setattr(cache_files.Store, "free_space", lambda self: 0)
    assert cached_images(fake_split(), (8,), cache_dir=tmp_path).mode == "disk"


def test_free_memory_and_space_are_plausible(tmp_path):
    assert 1 << 20 < memory.free_memory() < 1 << 50
    assert cache_files.Store(tmp_path / "not" / "yet", "title", "0" * 64, "bilinear").free_space() > 0


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    def full(file, start, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match=r"cannot reserve .* No space left"):
        cached_images(fake_split(), (8,), mode="disk", cache_dir=tmp_path)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(mode="gpu"), "'gpu' is not known"),
        (dict(mode="disk"), "needs cache_dir"),
        (dict(mode="ram", sizes=()), "at least one edge"),
        (dict(mode="ram", sizes=(0,)), "at least one edge"),
    ],
)
def test_impossible_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cached_images(fake_split(), **({"sizes": (8,)} | arguments))


def test_a_size_that_is_not_cached_is_refused():
    with pytest.raises(ValueError, match=r"no photo images of 9 pixels, only of \(8,\)"):
        cached_images(fake_split(), (8,), mode="ram").photos(9)


def test_undecoded_rows_can_be_sent_to_another_process():
    cache = pickle.loads(pickle.dumps(cached_images(fake_split(), (8,), mode="none")))
    np.testing.assert_array_equal(cache.photos(8)[:], cached_images(fake_split(), (8,), mode="ram").photos(8)[:])


SLOW = """
import sys, time
sys.path.append(sys.argv[1])
from fake_split import FilesInMemory, fake_split
from effnet_jax.data.cache import cached_images
class Slow(FilesInMemory):
    def photo(self, row):
        time.sleep(float(sys.argv[3]))
        return super().photo(row)
cached_images(fake_split(photos=40, sketches=40, files=Slow), (8,), mode="disk", cache_dir=sys.argv[2])
"""


def start(folder, delay):
    here = str(Path(__file__).parent)
    return subprocess.Popen([sys.executable, "-c", SLOW, here, str(folder), str(delay)], cwd=Path.cwd())


def test_killed_processes_leave_nothing_that_is_believed_and_two_may_write_at_once(tmp_path):
    killed = start(tmp_path, 60)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.part")):
        assert killed.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list(tmp_path.glob("*.part")) and not list(tmp_path.glob("*.npy"))
    pair = [start(tmp_path, 0.02), start(tmp_path, 0.02)]
    assert [process.wait(timeout=120) for process in pair] == [0, 0]
    assert len(list(tmp_path.glob("*.npy"))) == 2 and not list(tmp_path.glob("*.part"))
    split = fake_split(photos=40, sketches=40)
    cache = cached_images(split, (8,), mode="disk", cache_dir=tmp_path)
    np.testing.assert_array_equal(cache.photos(8)[:], cached_images(split, (8,), mode="ram").photos(8)[:])
