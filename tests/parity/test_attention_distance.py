"""Attention maps and their average distance against recorded numbers of the original."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from goldens import assert_close, encoder_params, load, nhwc, under

from effnet_jax import Encoder, ViT
from effnet_jax.figures.attention_distance import layer_statistics, token_distance
from effnet_jax.figures.attention_maps import attention_maps


def recorded():
    arrays, meta = load("att_dist")
    c = meta["config"]

    def build():
        rngs = nnx.Rngs(0)
        backbone = ViT(width=c["dim"], depth=c["depth"], heads=c["heads"], image_size=c["img"], rngs=rngs)
        return Encoder(backbone, embedding_size=c["classes"], rngs=rngs)

    encoder = nnx.merge(nnx.split(nnx.eval_shape(build))[0], encoder_params(under(arrays, "w/")))
    return arrays, meta, attention_maps(encoder.backbone, nhwc(arrays["in/image"]))


def test_maps_of_every_layer():
    arrays, _, maps = recorded()
    for layer in range(3):
        assert_close(maps[layer], arrays[f"out/attn{layer}"], 1e-5, f"layer {layer}")


def test_distance_its_mean_and_its_variance():
    arrays, _, maps = recorded()
    distance = token_distance(maps)
    assert_close(distance, arrays["out/distance_per_head"], 1e-5, "per head")
    assert_close(distance, arrays["f64/distance_per_head"], 1e-5, "per head, float64")
    mean, variance = layer_statistics(distance)
    assert_close(mean, arrays["out/mean"], 1e-5, "mean")
    assert_close(variance, arrays["out/variance_ddof1"], 1e-4, "variance")


def test_uniform_attention():
    _, meta, _ = recorded()
    for n, wanted in ((meta["N"], meta["uniform_attention_value"]), (197, meta["uniform_value_N197"])):
        np.testing.assert_allclose(token_distance(jnp.full((1, 1, 1, n, n), 1 / n)), wanted, rtol=1e-5)
