import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from effnet_jax.images.decode import decode_rgb
from tfds_builders.procedural_garments import drawn
from tfds_builders.procedural_garments.garments import GENERATOR_SHA256, split_plan


def digest(splits, files):
    """SHA-256 over split, role, id and pixels: photos of train, its sketches, photos of test, its sketches."""
    total = hashlib.sha256()
    for name, split in splits.items():
        named = [("photo", photo.photo_id, photo.path) for photo in split.photos]
        named += [("sketch", sketch.sketch_id, sketch.path) for sketch in split.sketches]
        for role, file_id, path in named:
            total.update(f"{name} {role} {file_id}\n".encode())
            total.update(decode_rgb(files[path]).tobytes())
    return total.hexdigest()


@pytest.mark.slow
def test_the_whole_set_is_settled():
    splits, files = drawn.draw_garments()
    assert len(files) == 1700
    assert digest(splits, files) == GENERATOR_SHA256


def test_the_number_of_workers_changes_nothing(monkeypatch):
    whole = split_plan(0)
    photos = {"train": whole.photos["train"][:6], "test": whole.photos["test"][:3]}
    sketches = {"train": whole.sketches["train"][:10], "test": whole.sketches["test"][:5]}
    monkeypatch.setattr(drawn, "split_plan", lambda seed: replace(whole, photos=photos, sketches=sketches))
    here, there = (drawn.draw_garments(workers=workers) for workers in (0, 2))
    assert digest(*here) == digest(*there)
    splits, files = here
    assert [(name, len(s.photos), len(s.sketches)) for name, s in splits.items()] == [("train", 6, 10), ("test", 3, 5)]
    assert [path.parent.name for path in files] == ["photo"] * 9 + ["sketch"] * 15
    assert all(s.sketch_id == f"{s.photo_id}_{s.tag}" for split in splits.values() for s in split.sketches)


def test_refuses_negative_workers():
    with pytest.raises(ValueError, match="workers=-1"):
        drawn.draw_garments(workers=-1)


def test_processes_draw_what_this_process_draws():
    jobs = [(0, "photo", photo_id) for photo_id in drawn.split_plan(0).photos["test"][:3]]
    jobs += [(0, "sketch", sketch.sketch_id) for sketch in drawn.split_plan(0).sketches["test"][:3]]
    here, there = list(drawn._drawn(jobs, 0)), list(drawn._drawn(jobs, 2))
    assert here == there
    for png, sha256 in here:
        pixels = decode_rgb(png)
        assert pixels.shape == (256, 256, 3) and hashlib.sha256(pixels.tobytes()).hexdigest() == sha256


def test_broken_processes_are_made_up_for(monkeypatch, caplog):
    class Broken:
        def __init__(self, *args, **kwargs): ...

        def __enter__(self):
            return self

        def __exit__(self, *error): ...

        def map(self, function, jobs, chunksize):
            yield function(jobs[0])
            raise drawn.BrokenProcessPool

    monkeypatch.setattr(drawn, "ProcessPoolExecutor", Broken)
    monkeypatch.setattr(drawn, "_draw", lambda job: (b"", str(job)))
    assert [sha for _, sha in drawn._drawn([(0, "photo", "1"), (0, "photo", "2")], 2)] == [
        "(0, 'photo', '1')",
        "(0, 'photo', '2')",
    ]
    assert "drawing in this process" in caplog.text


@pytest.mark.parametrize("seed", [0, 3])
def test_hash_is_of_the_pixels(seed, monkeypatch):
    class Flat:
        def photo(self, photo_id):
            return np.full((2, 2, 3), seed, np.uint8)

        sketch = photo

    monkeypatch.setattr(drawn, "_garment_set", lambda seed: Flat())
    splits, files = drawn.draw_garments(seed, workers=0)
    photo = splits["test"].photos[0]
    assert photo.sha256 == hashlib.sha256(bytes([seed] * 12)).hexdigest()
    assert (decode_rgb(files[photo.path]) == seed).all()
    assert len(files) == 1700


BUILD = """
from tfds_builders.procedural_garments.drawn import draw_garments
if __name__ == "__main__":
    draw_garments(workers=2)
"""


def test_drawing_processes_end_with_the_one_that_started_them(tmp_path):
    (tmp_path / "build.py").write_text(BUILD)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, tmp_path / "build.py"], env=environment, stderr=subprocess.DEVNULL)
    children = wait_for(lambda: found if len(found := drawing_processes(process.pid)) == 2 else None)
    process.kill()
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def drawing_processes(parent):
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in listed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return value
