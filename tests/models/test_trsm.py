"""TRSM: its short form equals the plain one, for any sizes and weights; dropout belongs to the row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from effnet_jax.config import ModelConfig, TrsmConfig
from effnet_jax.models.trsm import TRSM, make_functional_trsm


def random_trsm(seed, width, heads, z=8, dropout=0.0, scale=0.3):
    """A module whose weights and biases are all far from zero."""
    module = TRSM(width, heads=heads, dropout=dropout, embedding_size=z, rngs=nnx.Rngs(seed))
    graphdef, state = nnx.split(module, nnx.Param)
    leaves, tree = jax.tree.flatten(nnx.to_pure_dict(state))
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    leaves = [scale * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return nnx.merge(graphdef, jax.tree.unflatten(tree, leaves))


def random_tokens(seed, b, n, d):
    return jax.random.normal(jax.random.key(seed), (b, n, d))


@pytest.mark.parametrize(("b", "n", "heads", "width"), [(2, 5, 2, 6), (1, 1, 1, 4), (3, 9, 4, 8)])
def test_the_cls_row_alone_equals_the_first_token_of_the_streams(b, n, heads, width):
    graphdef, state = nnx.split(random_trsm(0, width, heads), nnx.Param)

    @jax.jit
    def both(params, photos, sketches):
        module = nnx.merge(graphdef, params)
        return module(photos, sketches), module.streams(photos, sketches)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 10_000))
    def check(seed):
        params = nnx.to_pure_dict(state)
        rng = np.random.default_rng(seed)
        params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.4, x.shape), jnp.float32), params)
        pair, streams = both(params, random_tokens(seed + 1, b, n, width), random_tokens(seed + 2, b, n, width))
        np.testing.assert_allclose(pair.photo_feature, streams.photo[:, 0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(pair.sketch_feature, streams.sketch[:, 0], rtol=1e-4, atol=1e-4)

    check()


def test_all_pairs_equals_the_module_pair_by_pair():
    trsm = random_trsm(0, 8, 2)
    photos, sketches = random_tokens(1, 3, 5, 8), random_tokens(2, 4, 5, 8)
    pairs = trsm.all_pairs(trsm.photo_part(photos), trsm.sketch_part(sketches))
    assert pairs.photo_embedding.shape == (4, 3, 8)
    rows, columns = np.indices((4, 3)).reshape(2, -1)
    for got, want in zip(pairs, trsm(photos[columns], sketches[rows]), strict=True):
        np.testing.assert_allclose(got.reshape(12, 8), want, rtol=1e-4, atol=1e-4)


def test_dropout_needs_a_key_belongs_to_the_row_and_keeps_the_mean():
    trsm = random_trsm(0, 8, 2, dropout=0.5, scale=0.1)
    photos, sketches = random_tokens(1, 4, 5, 8), random_tokens(2, 4, 5, 8)
    keys = jax.random.split(jax.random.key(3), 4)
    dropped, plain = trsm(photos, sketches, keys), trsm(photos, sketches)
    assert np.abs(dropped.photo_feature - plain.photo_feature).max() > 1e-3
    for got, want in zip(trsm(photos[1:3], sketches[1:3], keys[1:3]), dropped, strict=True):
        np.testing.assert_allclose(got, want[1:3], rtol=1e-5, atol=1e-6)
    many = jax.random.split(jax.random.key(4), 4000)
    alone = [jnp.repeat(x[:1], len(many), axis=0) for x in (photos, sketches)]
    mean = jnp.mean(trsm(*alone, many).photo_feature, axis=0)
    np.testing.assert_allclose(mean, plain.photo_feature[0], atol=0.05)


def plain_pair(trsm, photo, sketch, photo_key, sketch_key, pair_key):
    """One pair in plain steps: keys and values of all tokens, biases included, then a mask on the CLS row of a map."""
    width, k = photo.shape[1], trsm.heads

    def drop(key, place, x):
        kept = jax.random.bernoulli(jax.random.fold_in(key, place), 1 - trsm.dropout, x.shape)
        return np.asarray(kept) * np.asarray(x) / (1 - trsm.dropout)

    def affine(layer, x):
        return np.asarray(x) @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])

    def heads(x):
        return x.reshape(*x.shape[:-1], k, width // k)

    def cls_map(module, x, of):
        query, key = heads(affine(module.query, x[0])), heads(affine(module.key, of))
        logits = np.einsum("ke,nke->kn", query, key) / np.sqrt(width // k)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def stream(weights, value, out, x, key, place):
        y = np.einsum("kn,nke->ke", weights, heads(affine(value, x))).reshape(width) + x[0]
        return drop(key, place, affine(out, y)) + y + x[0]

    def alone(x, key, place):
        weights = drop(key, place, cls_map(trsm.intra, x, x))
        return stream(weights, trsm.intra.value, trsm.intra.out, x, key, place + 1)

    photo, sketch = np.asarray(photo), np.asarray(sketch)
    inter, weights = trsm.inter, drop(pair_key, 4, cls_map(trsm.inter, photo, sketch))
    photo_inter = stream(weights, inter.photo_value, inter.photo_out, photo, pair_key, 5)
    sketch_inter = stream(weights, inter.sketch_value, inter.sketch_out, sketch, pair_key, 6)
    photo = affine(trsm.photo_proj, np.concatenate([alone(photo, photo_key, 0), photo_inter]))
    sketch = affine(trsm.sketch_proj, np.concatenate([alone(sketch, sketch_key, 2), sketch_inter]))
    return photo, sketch, affine(trsm.photo_head, photo), affine(trsm.sketch_head, sketch)


def test_what_dropout_drops_equals_a_plain_computation_with_the_same_masks():
    trsm = random_trsm(0, 8, 2, dropout=0.4)
    photos, sketches = random_tokens(1, 3, 5, 8), random_tokens(2, 2, 5, 8)
    keys = jax.random.split(jax.random.key(3), 2)
    for i, pair in enumerate(zip(*trsm(photos[:2], sketches, keys), strict=True)):
        for got, want in zip(pair, plain_pair(trsm, photos[i], sketches[i], keys[i], keys[i], keys[i]), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    photo_keys, sketch_keys = jax.random.split(jax.random.key(4), 3), jax.random.split(jax.random.key(5), 2)
    pair_keys = jax.random.split(jax.random.key(6), (2, 3))
    pairs = trsm.all_pairs(trsm.photo_part(photos, photo_keys), trsm.sketch_part(sketches, sketch_keys), pair_keys)
    for i, j in np.ndindex(2, 3):
        wanted = plain_pair(trsm, photos[j], sketches[i], photo_keys[j], sketch_keys[i], pair_keys[i, j])
        for got, want in zip(pairs, wanted, strict=True):
            np.testing.assert_allclose(got[i, j], want, rtol=1e-4, atol=1e-5)


def test_one_mask_serves_both_streams():
    """With values equal to one and no other path, both streams read the same dropped attention."""
    trsm = random_trsm(0, 4, 1, dropout=0.5)
    for layer in (trsm.inter.photo_value, trsm.inter.sketch_value):
        layer.kernel[...] = jnp.eye(4)
        layer.bias[...] = jnp.zeros(4)
    for name in ("photo_out", "sketch_out", "out"):
        layer = getattr(trsm.intra if name == "out" else trsm.inter, name)
        layer.kernel[...], layer.bias[...] = jnp.zeros((4, 4)), jnp.zeros(4)
    select = jnp.concatenate([jnp.zeros((4, 4)), jnp.eye(4)])
    for layer in (trsm.photo_proj, trsm.sketch_proj):
        layer.kernel[...], layer.bias[...] = select, jnp.zeros(4)
    tokens = random_tokens(1, 3, 6, 4)
    pair = trsm(tokens, tokens, jax.random.split(jax.random.key(0), 3))
    np.testing.assert_allclose(pair.photo_feature, pair.sketch_feature, atol=1e-5)


def test_pure_functions_fit_the_encoders_and_bad_sizes_are_refused():
    trsm = make_functional_trsm(ModelConfig(backbone="vit_tiny", embedding_size=5), TrsmConfig(heads=4))
    params = trsm.init(jax.random.key(0))
    assert params["photo_proj"]["kernel"].shape == (384, 192)
    assert params["sketch_head"]["kernel"].shape == (192, 5)
    tokens = random_tokens(0, 2, 3, 192)
    assert trsm.call(TRSM.__call__)(params, tokens, tokens).photo_embedding.shape == (2, 5)
    with pytest.raises(ValueError, match="width 10 is not a multiple of 4 heads"):
        TRSM(10, heads=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"dropout=1.0 must lie in \[0, 1\)"):
        TRSM(8, heads=4, dropout=1.0, rngs=nnx.Rngs(0))
