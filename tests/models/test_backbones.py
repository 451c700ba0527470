"""What all backbones have in common, and what training mode does to those where it does something."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn

from effnet_jax.config import ModelConfig
from effnet_jax.models.depthwise import _grouped, depthwise
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.inception import InceptionV3
from effnet_jax.models.layers import BatchNorm, drop_path, drop_path_rates
from effnet_jax.models.presets import BACKBONES, build_backbone
from effnet_jax.models.swin import displacements, neighbours

SMALL = {
    "vit_tiny": {"width": 24, "depth": 2, "heads": 3, "image_size": 32},
    "swin_tiny": {"width": 12, "depth": 2, "heads": 3, "image_size": 64},
    "convnext_tiny": {"width": 8, "depth": 1, "image_size": 32},
    "vgg16": {"width": 8, "image_size": 32},
    "resnet18": {"width": 8, "depth": 1, "image_size": 32},
    "resnet50": {"width": 8, "depth": 1, "image_size": 32},
}
WITH_STATISTICS = ("resnet18", "resnet50")
PUBLISHED = {  # millions of parameters without the classifier
    "swin_tiny": 27.52, "swin_small": 48.84, "swin_base": 86.74, "convnext_tiny": 27.82, "convnext_small": 49.45,
    "convnext_base": 87.57, "vgg16": 14.71, "resnet18": 11.18, "resnet50": 23.51, "inception_v3": 21.79,
}  # fmt: skip


def config(name, **changes):
    return ModelConfig(**{"backbone": name, "embedding_size": 8, "weights": "none", **SMALL[name], **changes})


@functools.cache
def compiled(config):
    """EffNet as compiled functions, the same for all tests of one configuration."""
    model = make_functional(config)
    jitted = {name: jax.jit(getattr(model, name)) for name in model._fields if name != "init"}
    return model._replace(**jitted, init=lambda: drawn(jax.eval_shape(model.init, jax.random.key(0))))


def images(n, size, seed=0):
    return jnp.asarray(np.random.default_rng(seed).random((n, size, size, 3)), jnp.float32)


def row_keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


@pytest.mark.parametrize(
    ("name", "epsilon"),
    [
        ("vit_tiny", 1e-6),
        ("swin_tiny", 1e-5),
        ("convnext_tiny", 1e-6),
        ("resnet18", 1e-5),
        ("resnet50", 1e-5),
        ("inception_v3", 1e-3),
    ],
)
def test_every_norm_has_the_epsilon_of_the_original(name, epsilon):
    small = ModelConfig(**{"backbone": name, **SMALL.get(name, {})})
    backbone = nnx.eval_shape(lambda: build_backbone(small, rngs=nnx.Rngs(0)))
    norms = [module for _, module in nnx.iter_modules(backbone) if isinstance(module, nnx.LayerNorm | BatchNorm)]
    assert len(norms) > 4
    assert {norm.epsilon for norm in norms} == {epsilon}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n.endswith(("small", "base")) else ()) for n in PUBLISHED]
)
def test_presets_have_the_published_sizes(name):
    model = make_functional(ModelConfig(backbone=name, shared_encoders=True))
    backbone = jax.eval_shape(model.init, jax.random.key(0))["encoder"]["backbone"]
    assert sum(np.prod(x.shape) for x in jax.tree.leaves(backbone)) / 1e6 == pytest.approx(PUBLISHED[name], abs=0.01)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("extra", [0, 37, 96])
def test_every_size_gives_the_cells_that_the_backbone_says(name, extra):
    preset = BACKBONES[name]
    size = (preset.least or 32) + extra // preset.multiple * preset.multiple
    size -= size % 16 if name.startswith("vit") else 0
    depth = 1 if "depth" in preset.adjustable else 0
    config = ModelConfig(
        backbone=name, image_size=size, pooling="all", shared_encoders=True, embedding_size=4, depth=depth
    )
    model = make_functional(config)
    params, stats = jax.eval_shape(model.init, jax.random.key(0)), jax.eval_shape(model.init_batch_stats)
    spec = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    encoding = jax.eval_shape(model.encode_photos, params, spec, stats)
    cells = encoding.tokens.shape[1] - (preset.pooling == "cls")
    assert encoding.feature.shape == (2, cells * encoding.tokens.shape[2])


@pytest.mark.parametrize("name", SMALL)
def test_its_own_pooling_is_the_default(name):
    wanted = {"cls": lambda t: t[:, 0], "mean": lambda t: t.mean(axis=1), "max": lambda t: t.max(axis=1)}
    model = compiled(config(name, shared_encoders=True))
    params, stats = model.init(), model.init_batch_stats()
    tokens, feature, *_ = model.encode_photos(params, images(2, SMALL[name]["image_size"]), stats)
    pooled = wanted[BACKBONES[name].pooling](tokens)
    if name == "convnext_tiny":  # which norms after pooling
        pooled = (pooled - pooled.mean(axis=1, keepdims=True)) / jnp.sqrt(pooled.var(axis=1, keepdims=True) + 1e-6)
        norm = params["encoder"]["backbone"]["norm"]
        pooled = pooled * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(feature, pooled, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_images_do_not_influence_each_other_at_inference(name):
    model = compiled(config(name, shared_encoders=True))
    params, stats = model.init(), model.init_batch_stats()
    batch = images(3, SMALL[name]["image_size"])
    both = model.encode_photos(params, batch, stats).embedding
    np.testing.assert_allclose(both[1:2], model.encode_photos(params, batch[1:2], stats).embedding, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shared", [False, True])
def test_views_in_training_mode(name, shared):
    """With batch statistics each view is a batch of its own; elsewhere all views are one batch, to the same numbers."""
    c = config(
        name, shared_encoders=shared, **({"drop_path": 0.0} if "drop_path" in BACKBONES[name].adjustable else {})
    )
    model = compiled(c)
    params, stats = model.init(), model.init_batch_stats()
    views = [images(2, c.image_size, seed) for seed in range(3)]
    keys = [row_keys(2, seed) for seed in range(3)]
    (sketches, photos), after = model.encode_views(params, stats, views[:2], views[2:], keys[:2], keys[2:])
    assert (len(sketches), len(photos)) == (2, 1)
    assert jax.tree.structure(after) == jax.tree.structure(stats)
    alone, between = model.encode_views(params, stats, views[:1], views[2:], keys[:1], keys[2:])
    np.testing.assert_allclose(sketches[0].embedding, alone[0][0].embedding, atol=1e-5)
    if name in WITH_STATISTICS:
        assert max(float(abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, (after, between)), strict=True)) > 1e-3
        plain = model.encode_sketches(params, views[0], stats).embedding
        assert np.abs(plain - sketches[0].embedding).max() > 1e-3  # the batch's statistics, not the running ones
    else:
        assert after == {}
        plain = model.encode_sketches(params, views[1]).embedding
        np.testing.assert_allclose(sketches[1].embedding, plain, atol=1e-5)


@pytest.mark.parametrize("name", ["swin_tiny", "convnext_tiny"])
def test_drop_path_draws_by_row_in_training_only(name):
    c = config(name, drop_path=0.5, depth=2, shared_encoders=True)
    model = compiled(c)
    params, batch = model.init(), images(4, c.image_size)
    train = jax.jit(lambda x, keys: model.encode_views(params, {}, [x], [x], [keys], [keys])[0][0][0].embedding)
    keys = row_keys(4)
    first = train(batch, keys)
    np.testing.assert_array_equal(first, train(batch, keys))
    assert np.abs(first - train(batch, row_keys(4, seed=1))).max() > 1e-3
    assert np.abs(first - model.encode_photos(params, batch).embedding).max() > 1e-3
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_allclose(train(batch[order], keys[order]), first[order], atol=1e-5)


def test_drop_path_keeps_the_mean_and_drops_whole_rows():
    branch = jnp.ones((4000, 3))
    dropped = np.asarray(drop_path(branch, row_keys(4000), 0.25, place=1))
    assert set(np.unique(dropped.round(5))) == {0.0, np.float32(1 / 0.75).round(5)}
    assert np.all(dropped == dropped[:, :1])
    assert dropped.mean() == pytest.approx(1.0, abs=0.03)
    assert np.any(dropped != drop_path(branch, row_keys(4000), 0.25, place=2))
    assert drop_path(branch, None, 0.25, place=1) is branch
    assert drop_path_rates(0.3, (1, 2, 1)) == [[0.0], [pytest.approx(0.1), pytest.approx(0.2)], [pytest.approx(0.3)]]


def test_running_statistics_follow_the_batches_without_bias():
    norm, x = BatchNorm(2, rngs=nnx.Rngs(0)), jax.random.normal(jax.random.key(0), (4, 2, 2, 2)) * 3 + 1
    y = norm(x, training=True)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(norm.mean[...], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * x.var((0, 1, 2), ddof=1), rtol=1e-5)
    before = norm.mean[...]
    norm(x + 5, training=False)
    np.testing.assert_array_equal(norm.mean[...], before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_tiny", "convnext_tiny"])
def test_rematerialisation_changes_no_gradient(name):
    def gradient(remat):
        model = compiled(config(name, remat=remat, shared_encoders=True))
        batch, keys = images(2, SMALL[name]["image_size"]), row_keys(2)
        loss = lambda p: jnp.sum(model.encode_views(p, {}, [batch], [batch], [keys], [keys])[0][0][0].embedding ** 2)  # noqa: E731
        return jax.jit(jax.grad(loss))(model.init())

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), gradient(False), gradient(True))


@pytest.mark.parametrize("name", ["swin_tiny", "convnext_tiny", "resnet18", "vgg16"])
def test_bfloat16_is_close_and_leaves_parameters_alone(name):
    exact = compiled(config(name, shared_encoders=True))
    rough = compiled(config(name, shared_encoders=True, dtype="bfloat16"))
    params, stats = rough.init(), rough.init_batch_stats()
    assert {x.dtype for x in jax.tree.leaves((params, stats))} == {jnp.dtype("float32")}
    batch = images(2, SMALL[name]["image_size"])
    got, wanted = rough.encode_photos(params, batch, stats), exact.encode_photos(params, batch, stats)
    assert got.tokens.dtype == jnp.bfloat16
    assert got.embedding.dtype == jnp.float32
    np.testing.assert_allclose(got.feature, wanted.feature, atol=0.03 * float(np.abs(wanted.feature).max()))


def test_a_depthwise_convolution_and_its_gradients_are_xlas():
    x, kernel = images(2, 9)[..., :2].repeat(2, axis=-1), jax.random.normal(jax.random.key(1), (7, 7, 4))
    probe = lambda f: lambda x, k: jnp.sum(f(x, k) ** 2)  # noqa: E731
    np.testing.assert_allclose(depthwise(x, kernel), _grouped(x, kernel), atol=1e-4)
    for got, wanted in zip(
        jax.grad(probe(depthwise), (0, 1))(x, kernel), jax.grad(probe(_grouped), (0, 1))(x, kernel), strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-3)


def test_swins_bias_table_and_masks():
    index = displacements(7, 7)
    assert (index.shape, index.min(), index.max()) == ((49, 49), 0, 168)
    assert len(set(index.diagonal())) == 1
    small = displacements(3, 7)  # a smaller window uses its part of the same table
    centre = [i * 7 + j for i in range(3) for j in range(3)]
    np.testing.assert_array_equal(small, index[np.ix_(centre, centre)])
    mask = neighbours(8, 4, 2)
    assert mask.shape == (4, 16, 16)
    assert mask[0].all()
    assert not mask[3].all()
    np.testing.assert_array_equal(mask[3], mask[3].T)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("vgg16", 31, "32 pixels or more"),
        ("resnet18", 16, "32 pixels or more"),
        ("convnext_tiny", 24, "32 pixels or more"),
        ("swin_tiny", 80, "a multiple of 32, but image_size is 80"),
    ],
)
def test_impossible_sizes_are_refused(name, size, words):
    with pytest.raises(ValueError, match=words):
        make_functional(config(name, image_size=size))
    with pytest.raises(ValueError, match=r"75 pixels or more, but image_size is 64"):
        nnx.eval_shape(lambda: InceptionV3(image_size=64, rngs=nnx.Rngs(0)))


@pytest.mark.parametrize("name", ["swin_tiny", "resnet18", "vgg16", "convnext_tiny"])
def test_other_images_than_it_was_built_for_are_refused(name):
    model = compiled(config(name, shared_encoders=True))
    params, stats = model.init(), model.init_batch_stats()
    with pytest.raises(ValueError, match="was built for images"):
        model.encode_photos(params, images(1, 96), stats)
    with pytest.raises(ValueError, match="needs a CLS token"):
        make_functional(dataclasses.replace(config(name), pooling="cls"))
