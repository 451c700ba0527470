"""MSTR against recorded numbers of the original, in the published behaviour."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from goldens import assert_close, encoder_params, load, mstr_params, nhwc, under
from recipe import fill, tokens

from effnet_jax import Encoder, ViT
from effnet_jax.models.mstr import MSTR, published_target
from effnet_jax.weights.names.published_names import effnet_mstr
from effnet_jax.weights.names.targets import to_ours


def functional(width, hidden):
    def build():
        return MSTR(width, 14, hidden=hidden, as_published=True, rngs=nnx.Rngs(params=jax.random.key(0)))

    graphdef = nnx.split(nnx.eval_shape(build))[0]
    return lambda params, x: nnx.merge(graphdef, params)(x), lambda params, x: nnx.merge(graphdef, params).recycle(x)


@pytest.fixture(scope="module")
def golden():
    arrays, meta = load("mstr")
    call, recycle = functional(meta["config"]["dim"], meta["config"]["ffn"])
    return arrays, mstr_params(under(arrays, "w/"), prefix=""), call, recycle


def test_the_target_matrix():
    arrays, _ = load("mstr_contrast_matrix")
    np.testing.assert_array_equal(published_target(14), arrays["matrix"])
    with pytest.raises(ValueError, match="14 x 14 patches only, not on 7 x 7"):
        published_target(7)


def test_outputs_and_all_gradients(golden):
    arrays, params, call, recycle = golden

    def loss(params, x):
        final, decorrelation = call(params, x)
        return jnp.sum(final * arrays["in/cot"]) + jnp.mean(decorrelation), (final, decorrelation)

    x = jnp.asarray(arrays["in/tokens"])
    gradients, (final, decorrelation) = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)
    assert_close(final, arrays["out/final"], 1e-5)
    assert_close(np.mean(decorrelation), arrays["f64/decorrelation"], 1e-6)
    _, middle, coarse = jax.jit(recycle)(params, x[:, 1:])
    assert_close(middle, arrays["out/scale2_tokens"], 1e-5)
    assert_close(coarse, arrays["out/scale7_tokens"], 1e-5)
    assert_close(gradients[1], arrays["gin/tokens"], 5e-5)
    recorded, table = under(arrays, "g/"), effnet_mstr("")
    assert len(recorded) == 14
    for name, want in recorded.items():
        got = gradients[0]
        for part in table[name].path:
            got = got[part]
        assert_close(got, to_ours(want, table[name].layout), 5e-5, name)


def test_the_published_scores_depend_on_the_batch(golden):
    arrays, params, call, _ = golden
    x = jnp.asarray(arrays["in/tokens"])
    call = jax.jit(call)
    alone = jnp.concatenate([call(params, x[i : i + 1])[0] for i in range(3)])
    assert_close(alone, arrays["out/final_each_sample_alone"], 1e-5)
    assert_close(call(params, x[:2])[0], arrays["out/final_first_two_only"], 1e-5)


def test_the_published_width():
    arrays, meta = load("recipe_mstr768")
    tensors = {name: fill(name, tuple(shape), meta["gain"], meta["salt"]) for name, shape in meta["tensors"]}
    call, _ = functional(768, meta["ffn"])
    x = jnp.asarray(tokens(meta["input"], tuple(meta["input_shape"])))
    final, decorrelation = jax.jit(call)(mstr_params(tensors), x)
    assert_close(final, arrays["out/final"], 1e-5)
    assert_close(np.mean(decorrelation), arrays["out/decorrelation"], 1e-6)


def test_the_encoders_head_sees_the_recycled_tokens_and_its_feature_stays_the_cls_token():
    arrays, meta = load("arnet_encoder")
    images, _ = load("arnet_encoder_inputs")
    c, weights = meta["config"], under(arrays, "w/")

    def build():
        rngs = nnx.Rngs(params=jax.random.key(0))
        vit = ViT(width=c["dim"], depth=c["depth"], heads=c["heads"], rngs=rngs)
        mstr = MSTR(c["dim"], 14, hidden=c["ffn"], as_published=True, rngs=rngs)
        return Encoder(vit, embedding_size=c["classes"], recycling=mstr, rngs=rngs)

    graphdef = nnx.split(nnx.eval_shape(build))[0]
    params = encoder_params(weights) | {"recycling": mstr_params(weights)}
    pixels = nhwc(images["in/image"].astype(np.float32) / np.float32(255))
    encoding = jax.jit(lambda params, images: nnx.merge(graphdef, params)(images))(params, pixels)
    assert_close(encoding.tokens[:, 0], arrays["out/vit_feat_cls"], 1e-5)
    assert_close(encoding.tokens[:, 1:9], arrays["out/vit_feat_patches_first8"], 1e-5)
    assert_close(encoding.feature, arrays["out/vit_feat_cls"], 1e-5)
    assert_close(encoding.embedding, arrays["out/mlp_feat"], 1e-5)
    assert_close(np.mean(encoding.decorrelation), arrays["out/decorrelation"], 1e-6)
