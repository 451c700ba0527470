import io
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from picture_folder import as_seen, write
from PIL import Image

from effnet_jax.data import built
from effnet_jax.data.loading import load_split
from effnet_jax.data.problems import DataError


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


def test_a_set_that_is_not_whole_is_built_again(open_split, tmp_path):
    open_split()
    next((tmp_path / "tfds").rglob("*test_gallery*")).unlink()
    np.testing.assert_array_equal(open_split("test").photo(0).shape, (5, 6, 3))
    assert len(times(tmp_path / "tfds")) == 4


BUILD = """
import sys
from effnet_jax.data import builders, loading
import tfds_builders.base as base
builders.register_builders("tfds_builders")
slow = base.plain_encoding
def plain_encoding(data):
    import time
    time.sleep(0.5)
    return slow(data)
base.plain_encoding = plain_encoding
print("ready", flush=True)
loading.load_split("sketch_photo_folder", "train", source_dir=sys.argv[1], tfds_dir=sys.argv[2])
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
        "import sys; from effnet_jax import load_split; from effnet_jax.data.builders import register_builders;"
        "register_builders('tfds_builders');"
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
