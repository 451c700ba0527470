import ast
import pickle
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfds_builders.procedural_garments import garments
from tfds_builders.procedural_garments.garments import GENERATOR_SHA256, GarmentSet, digest, generate, split_plan

FIRST = "71907b325eb0a616b05f92e7e00d6028b57e96f78b8bd82d59bea09ae5b9bf1b"


def small_plan():
    return split_plan(0, train_photos=6, test_photos=3, train_sketches=10, test_sketches=5)


def test_first_pictures_are_settled():
    total = sha256()
    drawn = GarmentSet(0)
    for photo_id in drawn.plan.photos["train"][:6]:
        total.update(drawn.photo(photo_id).tobytes())
    for planned in drawn.plan.sketches["test"][:12]:
        total.update(drawn.sketch(planned.sketch_id).tobytes())
    assert total.hexdigest() == FIRST


@pytest.mark.slow
def test_the_whole_set_is_settled():
    pictures = list(generate(0))
    assert len(pictures) == 1700
    assert digest(iter(pictures)) == GENERATOR_SHA256


def test_the_number_of_workers_changes_nothing():
    here, there = (list(garments._generate(small_plan(), workers)) for workers in (0, 2))
    assert digest(iter(here)) == digest(iter(there))
    assert [(p.split, p.role) for p in here] == (
        [("train", "photo")] * 6 + [("train", "sketch")] * 10 + [("test", "photo")] * 3 + [("test", "sketch")] * 5
    )
    assert all(p.id == (p.photo_id if p.role == "photo" else f"{p.photo_id}_{p.tag}") for p in here)


def test_random_access_gives_what_generate_gives():
    drawn = pickle.loads(pickle.dumps(GarmentSet(0)))
    first = next(iter(generate(0, workers=0)))
    assert (first.split, first.role, first.tag) == ("train", "photo", "")
    np.testing.assert_array_equal(drawn.photo(first.id), first.pixels)
    with pytest.raises(KeyError):
        drawn.photo("99999")


def test_refuses_negative_workers():
    with pytest.raises(ValueError, match="workers=-1"):
        generate(0, workers=-1)


def test_worker_code_imports_neither_jax_nor_tensorflow():
    imported = set()
    for file in Path(garments.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert imported & {"numpy", "PIL"} and not imported & {"jax", "tensorflow", "tensorflow_datasets", "torch", "grain"}


@pytest.mark.slow
def test_blurred_edges_do_not_solve_it():
    drawn = GarmentSet(0)
    photo_ids = drawn.plan.photos["test"]
    photos = np.stack([_edges(drawn.photo(i)) for i in photo_ids])
    planned = drawn.plan.sketches["test"]
    scores = np.stack([_edges(drawn.sketch(s.sketch_id)) for s in planned]) @ photos.T
    truth = np.array([photo_ids.index(s.photo_id) for s in planned])
    accuracy = (scores.argmax(axis=1) == truth).mean()
    assert 0.02 < accuracy < 0.25


def _edges(picture):
    """Edge strength at 64 px, blurred, unit length."""
    grey = np.asarray(Image.fromarray(picture).convert("L").resize((64, 64), Image.Resampling.BILINEAR), dtype=float)
    edges = np.hypot(*np.gradient(grey))
    for _ in range(3):
        padded = np.pad(edges, 2, mode="edge")
        edges = sum(padded[i : i + 64, j : j + 64] for i in range(5) for j in range(5)) / 25
    return (edges / np.linalg.norm(edges)).ravel()
