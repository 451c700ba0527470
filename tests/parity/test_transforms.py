"""Resizes byte for byte, and view A1's source pixels, against recordings of torchvision on Pillow."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from effnet_jax.images.preprocessing import Preprocessing, normalise, resize
from effnet_jax.images.rotation import rotate_and_crop

GOLDENS = Path(__file__).parent / "goldens"
FULL = os.environ.get("EFFNET_GOLDENS")  # a folder with the full recordings
IMAGES = ("up_37x53_rgb", "down_300x200_rgb", "sketch_256x256_gray", "rgba_100x80")
SAME_PIXELS = 0.999


@pytest.fixture(scope="module")
def resizes():
    with np.load(GOLDENS / "transforms_resize.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("size", (224, 268))
@pytest.mark.parametrize("name", IMAGES)
def test_resizes_are_the_recorded_bytes(resizes, name, size):
    got = resize(resizes[f"{name}/rgb"], size, "bilinear")
    np.testing.assert_array_equal(got, resizes[f"{name}/resize_{size}_{size}"])


def a1_files():
    names = ["transforms_a1_0_reduced.npz", "transforms_a1_1.npz"]
    files = [GOLDENS / name for name in names]
    return files + (sorted(Path(FULL).glob("transforms_a1_*.npz")) if FULL else [])


@pytest.mark.parametrize("file", a1_files(), ids=lambda file: file.name)
def test_rotation_copies_the_recorded_source_pixels(resizes, file):
    rotate = jax.jit(rotate_and_crop, static_argnums=3)
    checked = 0
    with np.load(file, allow_pickle=False) as recorded:
        angles = json.loads(str(recorded["meta"]))["angles"]
        for key in recorded.files:
            if "/angle" not in key or key.startswith("f64/"):
                continue
            name, drawn = key.split("/")
            angle, flip = int(drawn[5]), drawn.endswith("flip1")
            got = rotate(resizes[f"{name}/resize_268_268"], np.float32(angles[angle]), flip, 224)
            same = np.mean(np.all(np.asarray(got) == recorded[key], axis=-1))
            assert same >= SAME_PIXELS, f"{key} at {angles[angle]} degrees: {same:.5f} of the pixels"
            checked += 1
    assert checked >= 4


def test_the_paper_scales_to_the_unit_interval_and_subtracts_nothing(resizes):
    pixels = resizes["down_300x200_rgb/resize_224_224"]
    got = normalise(pixels, Preprocessing())
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, pixels.astype(np.float32) / np.float32(255))
