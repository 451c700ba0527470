"""One program for all that encodes: what is compiled for one encoder serves every other of its architecture."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import MODEL, drawn, tiny_encoders

from effnet_jax.config import AugmentConfig
from effnet_jax.encoders import encode_program as module
from effnet_jax.encoders.encode_program import EncodeProgram, encoder_of
from effnet_jax.encoders.evaluator import embed_split
from effnet_jax.encoders.tokens import encode_split
from effnet_jax.images.preprocessing import Preprocessing, normalise
from effnet_jax.models.effnet import make_functional
from effnet_jax.runtime.sharding import make_mesh, put_batch
from effnet_jax.stages.draws import ANCHOR, AUGMENTED
from effnet_jax.stages.trsm.token_batches import encode_views, make_view_program

PIXELS = Preprocessing(image_size=MODEL.image_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
BATCH = 4


class Rows:
    """Pictures as the image cache gives them."""

    def __init__(self, count, seed):
        self.pictures = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)
        self.shape = self.pictures.shape

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, rows):
        return self.pictures[rows]


class Images:
    """Images of a split of 7 sketches and 5 photos."""

    def sketches(self, size):
        return Rows(7, 0)

    def photos(self, size):
        return Rows(5, 1)


@pytest.fixture
def compiled(monkeypatch):
    """What is compiled from now on, by the arguments of the program."""
    found = []
    make = module._compiled.__wrapped__

    def remembering(*arguments):
        found.append(make(*arguments))
        return found[-1]

    monkeypatch.setattr(module, "_compiled", functools.cache(remembering))
    return found


@pytest.mark.usefixtures("unchecked")  # Rows stand for the image cache's
def test_evaluation_tokens_and_stage_two_compile_one_program_between_them(compiled):
    model = make_functional(MODEL)
    params = drawn(jax.eval_shape(model.init, jax.random.key(0)))
    mesh = make_mesh(1)
    program = EncodeProgram(MODEL, PIXELS, mesh, tokens="float32")
    embeddings = embed_split(program, params, Images(), {}, batch_size=BATCH)
    other = EncodeProgram(dataclasses.replace(MODEL, weights="x.safetensors"), PIXELS, mesh, tokens="float32")
    sketches, photos = encode_split(other, params, Images(), batch_size=BATCH, hold=True)
    assert len(compiled) == 1
    assert compiled[0]._cache_size() == 1  # two encoders, two domains, tokens and embeddings
    np.testing.assert_array_equal(sketches.embeddings(), embeddings.sketches)
    np.testing.assert_array_equal(photos.embeddings(), embeddings.photos)

    wanted = {"sketch": (ANCHOR, AUGMENTED), "photo": (ANCHOR,)}
    views = make_view_program(AugmentConfig(), PIXELS, mesh, wanted)
    images = {"sketch_32": Rows(4, 0).pictures, "photo_32": Rows(4, 1).pictures}
    images["sketch_38"] = np.zeros((4, 38, 38, 3), np.uint8)
    batch = put_batch({**images, "position": np.arange(4, dtype=np.uint32)}, mesh)
    tokens = encode_views(views, program, params, batch, jax.random.key(0, impl="threefry2x32"))
    assert compiled[0]._cache_size() == 2  # once more for images that are scaled already, whatever the domain and view
    assert set(tokens) == {"sketch_anchor", "sketch_augmented", "photo_anchor"}
    np.testing.assert_allclose(tokens["sketch_anchor"], sketches[:4], atol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_tokens_that_are_not_held_are_the_same(compiled):
    model = make_functional(MODEL)
    params = drawn(jax.eval_shape(model.init, jax.random.key(0)))
    program = EncodeProgram(MODEL, PIXELS, make_mesh(1), tokens="float32")
    held, fresh = (encode_split(program, params, Images(), batch_size=BATCH, hold=hold)[0] for hold in (True, False))
    rows = np.array([6, 0, 3, 3, 5])
    np.testing.assert_allclose(fresh[rows], held[rows], atol=1e-6)
    np.testing.assert_allclose(fresh.embeddings(), held.embeddings(), atol=1e-6)
    black = model.encode_sketches(params, normalise(jnp.zeros((1, 32, 32, 3), jnp.uint8), PIXELS)).tokens
    np.testing.assert_allclose(fresh.black(), black, atol=1e-5)


def test_two_catalogues_of_one_architecture_compile_once(compiled):
    pictures = Rows(3, 0).pictures
    embeddings = [
        embed(pictures)
        for seed in (1, 2)
        for encoders in [tiny_encoders(seed)]
        for embed in (encoders.embed_sketches, encoders.embed_photos)
    ]
    assert len(compiled) == 1
    assert compiled[0]._cache_size() == 1
    assert np.abs(embeddings[0] - embeddings[2]).max() > 0.1


def test_programs_of_ever_new_architectures_are_not_kept_for_ever():
    for i in range(10):
        EncodeProgram(dataclasses.replace(MODEL, embedding_size=1 + i), PIXELS, make_mesh(1))
    assert module._compiled.cache_info().currsize <= 8


@pytest.mark.parametrize("shared", [False, True])
def test_the_program_gives_what_the_model_does(shared):
    config = dataclasses.replace(MODEL, shared_encoders=shared)
    model = make_functional(config)
    params = drawn(jax.eval_shape(model.init, jax.random.key(0)))
    pictures, program = jnp.asarray(Rows(4, 0).pictures), EncodeProgram(config, PIXELS, make_mesh(1), tokens="float16")
    for domain, encode in (("sketch", model.encode_sketches), ("photo", model.encode_photos)):
        encoded = program(encoder_of(params, domain), {}, pictures)
        wanted = encode(params, normalise(pictures, PIXELS))
        np.testing.assert_allclose(encoded.embedding, wanted.embedding, atol=1e-5)
        np.testing.assert_allclose(encoded.tokens, wanted.tokens, atol=5e-3)
        assert encoded.tokens.dtype == np.float16


@pytest.mark.usefixtures("unchecked")
def test_where_the_model_mixes_the_rows_of_a_batch_nothing_is_filled_up():
    published = dataclasses.replace(MODEL, image_size=224, width=48, token_recycling=True, recycling_as_published=True)
    program = EncodeProgram(published, Preprocessing(image_size=224), make_mesh(1))
    with pytest.raises(ValueError, match=r"recycling_as_published mixes .* up by 1 would change .* eval\.batch_size"):
        next(program.batches({}, {}, Rows(7, 0), 4))  # before the first batch, which is whole, is encoded
    program.refuse_filling(0)
    EncodeProgram(MODEL, PIXELS, make_mesh(1)).refuse_filling(3)
    encoders = dataclasses.replace(tiny_encoders(), config=published)
    with pytest.raises(ValueError, match="recycling_as_published mixes"):
        encoders.embed_sketches(np.zeros((3, 224, 224, 3), np.uint8))
