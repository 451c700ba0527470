import ast
import pickle
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfds_builders.procedural_garments import garments
from tfds_builders.procedural_garments.garments import GarmentSet, draw_photo, draw_sketch, split_plan

FIRST = "71907b325eb0a616b05f92e7e00d6028b57e96f78b8bd82d59bea09ae5b9bf1b"


def test_first_pictures_are_settled():
    total = sha256()
    drawn = GarmentSet(0)
    for photo_id in drawn.plan.photos["train"][:6]:
        total.update(drawn.photo(photo_id).tobytes())
    for planned in drawn.plan.sketches["test"][:12]:
        total.update(drawn.sketch(planned.sketch_id).tobytes())
    assert total.hexdigest() == FIRST


def test_random_access_gives_what_is_planned():
    drawn = pickle.loads(pickle.dumps(GarmentSet(0)))
    first, planned = drawn.plan.photos["train"][0], drawn.plan.sketches["train"][0]
    garment = split_plan(0).garments[first]
    np.testing.assert_array_equal(drawn.photo(first), draw_photo(garment))
    assert planned.photo_id == first
    np.testing.assert_array_equal(drawn.sketch(planned.sketch_id), draw_sketch(garment, planned.designer, 0))
    with pytest.raises(KeyError):
        drawn.photo("99999")


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
