import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.images.preprocessing import Preprocessing, normalise, resize, source_size

HALF = Preprocessing(image_size=96, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), resample="bicubic")


@pytest.mark.parametrize("preprocessing", (Preprocessing(), HALF))
def test_survives_json(preprocessing):
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing


def test_from_dict_names_unknown_and_missing_fields():
    stored = Preprocessing().to_dict()
    stored["crop"] = stored.pop("std")
    with pytest.raises(ValueError, match=r"unknown fields \['crop'\], missing fields \['std'\]"):
        Preprocessing.from_dict(stored)


def test_all_problems_come_at_once():
    with pytest.raises(ValueError) as error:
        Preprocessing(image_size=0, mean=(0.5,), std=(1.0, 0.0, 1.0), resample="nearest")
    for part in ("image_size=0", "mean=(0.5,)", "std=(1.0, 0.0, 1.0)", "resample='nearest'"):
        assert part in str(error.value)


@pytest.mark.parametrize(("view", "size", "source"), [("a0", 224, 224), ("a1", 224, 268), ("a2", 224, 268),
                                                      ("a1", 96, 115), ("a1", 112, 134)])  # fmt: skip
def test_source_sizes(view, size, source):
    assert source_size(view, size) == source


def test_unknown_view_is_named():
    with pytest.raises(ValueError, match=r"'a3'.*a0, a1, a2"):
        source_size("a3", 224)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50), st.sampled_from(["bilinear", "bicubic"]))
def test_resize_gives_a_square_that_owns_its_memory(height, width, size, resample):
    image = np.full((height, width, 3), 77, np.uint8)
    got = resize(image, size, resample)
    assert got.shape == (size, size, 3)
    assert got.flags.owndata and got.flags.writeable
    assert (got == 77).all()


def test_resize_refuses_other_filters():
    with pytest.raises(ValueError, match=r"'nearest'.*bilinear, bicubic"):
        resize(np.zeros((2, 2, 3), np.uint8), 2, "nearest")


def test_normalise_is_the_same_in_numpy_and_under_jit():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
    on_host = normalise(images, HALF)
    on_device = jax.jit(normalise, static_argnums=1)(jnp.asarray(images), HALF)
    assert isinstance(on_host, np.ndarray) and isinstance(on_device, jax.Array)
    assert on_host.dtype == on_device.dtype == np.float32
    np.testing.assert_allclose(on_host, (images / 255 - 0.5) / 0.5, atol=1e-6)
    np.testing.assert_allclose(on_device, on_host, atol=1e-6)


def test_what_workers_import_does_not_import_jax():
    code = (
        "import sys, effnet_jax.data.pipeline, effnet_jax.data.cache, effnet_jax.images.preprocessing\n"
        "bad = {'jax', 'tensorflow', 'torch', 'tensorflow_datasets', 'grain'} & set(sys.modules)\n"
        "sys.exit(f'imported {bad}' if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
