import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_encoders

from effnet_jax.encoders.encoders import MODEL, WEIGHTS, read_encoders, read_fingerprint
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.trees import flatten


@pytest.fixture(scope="module")
def encoders():
    return tiny_encoders()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


def test_embeddings_are_those_of_the_model_at_unit_norm(encoders, images):
    model = make_functional(encoders.config)
    params, scaled = jax.tree.map(jnp.asarray, encoders.params), jnp.asarray(images, jnp.float32) / 255
    for ours, theirs in (
        (encoders.embed_sketches, model.encode_sketches),
        (encoders.embed_photos, model.encode_photos),
    ):
        wanted = np.asarray(theirs(params, scaled).embedding)
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
        np.testing.assert_allclose(ours(images), wanted, atol=1e-5)
    embeddings, tokens = encoders.embed_photos_with_tokens(images)
    np.testing.assert_allclose(embeddings, encoders.embed_photos(images), atol=1e-6)
    assert tokens.shape == (5, 5, 24)
    assert tokens.dtype == np.float16
    assert np.abs(encoders.embed_photos(images) - encoders.embed_sketches(images)).max() > 0.1


def test_batches_do_not_matter(encoders, images):
    whole = encoders.embed_photos(images)
    np.testing.assert_allclose(
        whole, np.concatenate([encoders.embed_photos(images[i : i + 1]) for i in range(5)]), atol=1e-6
    )


@pytest.mark.parametrize("shared", [False, True])
def test_saved_and_loaded_they_are_the_same(images, tmp_path, shared):
    encoders = tiny_encoders(shared_encoders=shared, stem="conv")
    encoders.save(tmp_path)
    loaded = read_encoders(tmp_path)
    assert (loaded.config, loaded.preprocessing) == (encoders.config, encoders.preprocessing)
    assert loaded.fingerprint == encoders.fingerprint == read_fingerprint(tmp_path)
    assert flatten(loaded.params).keys() == flatten(encoders.params).keys()
    np.testing.assert_array_equal(loaded.embed_sketches(images), encoders.embed_sketches(images))


def test_fingerprint_follows_what_decides_an_embedding(encoders):
    assert tiny_encoders(1).fingerprint != encoders.fingerprint
    assert tiny_encoders(pooling="mean").fingerprint != encoders.fingerprint
    assert tiny_encoders(remat=True).fingerprint == encoders.fingerprint


def test_pictures_of_other_types_are_refused(encoders, images, unchecked):
    for dtype in (np.float32, np.int32):
        with pytest.raises(ValueError, match="must be 8-bit RGB"):
            encoders.embed_photos(images.astype(dtype))


def test_fingerprints_stay_what_they_were_in_indexes_of_before(encoders):
    assert encoders.fingerprint == "63eaf5552cc1d7840fa916ad548a0c12d7856a0c606c6a49b9fbaaf44fc9ff9d"


def test_damaged_and_mixed_folders_are_refused(encoders, tmp_path):
    with pytest.raises(ValueError, match="does not hold encoders"):
        read_encoders(tmp_path)
    with pytest.raises(ValueError, match="does not hold encoders"):
        read_fingerprint(tmp_path)
    encoders.save(tmp_path)
    other = tmp_path / "other"
    tiny_encoders(1).save(other)
    (other / WEIGHTS).replace(tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match="mixes two models"):
        read_encoders(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"short")
    with pytest.raises(ValueError, match="does not hold encoders"):
        read_encoders(tmp_path)
    encoders.save(tmp_path)
    content = json.loads((tmp_path / MODEL).read_text())
    content["model"]["gadget"] = 3
    (tmp_path / MODEL).write_text(json.dumps(content))
    with pytest.raises(ValueError, match="gadget does not exist"):
        read_encoders(tmp_path)
