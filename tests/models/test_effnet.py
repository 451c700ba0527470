import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from effnet_jax import EffNet, make_functional
from effnet_jax.config import ModelConfig

SMALL = {
    "width": 24,
    "depth": 1,
    "heads": 3,
    "image_size": 32,
    "patch_size": 16,
    "embedding_size": 8,
    "weights": "none",
}


def images(n, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((n, 32, 32, 3)), jnp.float32)


def same(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), a, b)


@pytest.mark.parametrize("shared", [False, True])
def test_module_and_pure_functions_agree(shared):
    config = ModelConfig(**SMALL, shared_encoders=shared)
    module = EffNet(config, rngs=nnx.Rngs(params=jax.random.key(3)))
    model = make_functional(config)
    params = model.init(jax.random.key(3))
    sketches, photos = images(2), images(3, seed=1)
    same(module.encode_sketches(sketches), model.encode_sketches(params, sketches))
    same(module.encode_photos(photos), model.encode_photos(params, photos))
    both = model.encode(params, sketches, photos)
    same(both, (module.encode_sketches(sketches), module.encode_photos(photos)))
    assert both[0].embedding.shape == (2, 8)
    assert both[1].tokens.shape == (3, 5, 24)


def test_two_encoders_have_separate_weights_and_a_shared_one_has_half():
    two = make_functional(ModelConfig(**SMALL)).init(jax.random.key(0))
    one = make_functional(ModelConfig(**SMALL, shared_encoders=True)).init(jax.random.key(0))
    assert set(two) == {"sketch_encoder", "photo_encoder"}
    assert set(one) == {"encoder"}
    assert not np.allclose(two["sketch_encoder"]["head"]["kernel"], two["photo_encoder"]["head"]["kernel"])
    model = make_functional(ModelConfig(**SMALL, shared_encoders=True))
    x = images(2)
    same(model.encode_sketches(one, x), model.encode_photos(one, x))


def test_precision_reaches_the_products():
    model = make_functional(ModelConfig(**SMALL, precision="highest"))
    params = model.init(jax.random.key(0))
    text = str(jax.make_jaxpr(model.encode_sketches)(params, images(1)))
    assert "Precision.HIGHEST" in text


def test_a_linen_module_can_hold_an_encoder():
    from flax import linen as nn

    class Search(nn.Module):
        @nn.compact
        def __call__(self, sketches):
            effnet = nnx.bridge.to_linen(EffNet, ModelConfig(**SMALL), name="effnet")
            return effnet(sketches, sketches)[0].embedding

    variables = Search().init(jax.random.key(0), images(2))
    assert Search().apply(variables, images(2)).shape == (2, 8)


@pytest.mark.parametrize(("pooling", "width"), [("", 24), ("cls", 24), ("mean", 24), ("max", 24), ("all", 4 * 24)])
def test_pooling_chooses_the_feature(pooling, width):
    model = make_functional(ModelConfig(**SMALL, pooling=pooling))
    tokens, feature, embedding, _ = model.encode_sketches(model.init(jax.random.key(0)), images(2))
    assert feature.shape == (2, width)
    assert embedding.shape == (2, 8)
    wanted = {
        "": tokens[:, 0],
        "max": tokens[:, 1:].max(axis=1),
        "cls": tokens[:, 0],
        "mean": tokens[:, 1:].mean(axis=1),
        "all": tokens[:, 1:].reshape(2, -1),
    }
    np.testing.assert_allclose(feature, wanted[pooling], atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="choose one of cls, mean, max, all"):
        make_functional(ModelConfig(**SMALL, pooling="median"))
