"""ViT and encoder against recorded numbers of the original, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from goldens import assert_close, encoder_params, load, nhwc, under
from recipe import fill, image

from effnet_jax import Encoder, ViT
from effnet_jax.models.presets import BACKBONES

FORWARD, GRADIENT = 1e-5, 5e-5


def make(width, depth, heads, image_size, embedding_size):
    def build():
        rngs = nnx.Rngs(0)
        backbone = ViT(width=width, depth=depth, heads=heads, image_size=image_size, rngs=rngs)
        return Encoder(backbone, embedding_size=embedding_size, rngs=rngs)

    graphdef = nnx.split(nnx.eval_shape(build))[0]
    return lambda params, images: nnx.merge(graphdef, params)(images)


def test_small_encoder_values_and_gradients():
    arrays, meta = load("encoder_vit")
    c = meta["config"]
    encode = make(c["dim"], c["depth"], c["heads"], c["img"], c["classes"])
    params = encoder_params(under(arrays, "w/"))
    images = nhwc(arrays["in/image"])
    encoding = encode(params, images)
    assert_close(encoding.tokens, arrays["out/vit_feat"], FORWARD, "tokens")
    assert_close(encoding.feature, arrays["out/vit_feat"][:, 0], FORWARD, "feature")
    assert_close(encoding.embedding, arrays["out/mlp_feat"], FORWARD, "embedding")

    def probe(params, images):
        out = encode(params, images)
        return jnp.sum(out.embedding * arrays["in/cot_mlp"]) + jnp.sum(out.tokens * arrays["in/cot_tokens"])

    of_params, of_images = jax.grad(probe, argnums=(0, 1))(params, jnp.asarray(images))
    assert_close(of_images, nhwc(arrays["gin/image"]), GRADIENT, "gradient of the image")
    wanted = encoder_params(under(arrays, "g/"))
    for (path, got), want in zip(jax.tree_util.tree_leaves_with_path(of_params), jax.tree.leaves(wanted), strict=True):
        assert_close(got, want, GRADIENT, jax.tree_util.keystr(path))


@pytest.mark.parametrize("name", ["vit_tiny", "vit_base"])
def test_preset_sizes(name):
    preset = BACKBONES[name]
    arrays, meta = load(f"recipe_{name}_patch16_224")
    tensors = {key: fill(key, tuple(shape), meta["gain"], meta["salt"]) for key, shape in meta["tensors"]}
    images = nhwc(image(meta["input_name"], tuple(meta["input_shape"])))
    encoding = jax.jit(make(preset.width, *preset.depths, preset.heads, 224, 512))(encoder_params(tensors), images)
    tokens = np.asarray(encoding.tokens)
    assert_close(encoding.feature, arrays["out/cls/full"], FORWARD, "CLS")
    assert_close(encoding.embedding, arrays["out/mlp_feat/full"], FORWARD, "embedding")
    assert_close(tokens[:, 1], arrays["out/patch0/full"], FORWARD, "first patch")
    assert_close(tokens[:, 196], arrays["out/patch195/full"], FORWARD, "last patch")
    norm = np.sqrt((tokens.astype(np.float64) ** 2).sum())
    assert abs(norm / arrays["out/tokens/l2"] - 1) < 1e-6
