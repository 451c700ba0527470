import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from effnet_jax import ViT
from effnet_jax.models.layers import gelu
from effnet_jax.models.presets import BACKBONES
from effnet_jax.models.vit import ConvStem, resize_position_embeddings

SMALL = {"width": 24, "depth": 2, "heads": 3, "image_size": 32, "patch_size": 8}


def images(n=2, size=32):
    return jnp.asarray(np.random.default_rng(0).random((n, size, size, 3)), jnp.float32)


def make(**changes):
    return ViT(**{**SMALL, **changes}, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(("image_size", "patch_size"), [(32, 8), (48, 16), (30, 10), (16, 16)])
def test_any_image_and_patch_size(image_size, patch_size):
    tokens = make(image_size=image_size, patch_size=patch_size)(images(size=image_size))
    assert tokens.shape == (2, 1 + (image_size // patch_size) ** 2, 24)


@pytest.mark.parametrize(("name", "millions"), [("vit_tiny", 5.52), ("vit_small", 21.67), ("vit_base", 85.80)])
def test_presets_have_the_published_sizes(name, millions):
    width, (depth,), heads = BACKBONES[name].width, BACKBONES[name].depths, BACKBONES[name].heads
    model = nnx.eval_shape(lambda: ViT(width=width, depth=depth, heads=heads, rngs=nnx.Rngs(0)))
    count = sum(np.prod(p.shape) for p in jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param))))
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_bfloat16_really_computes_in_bfloat16_on_float32_parameters():
    model = make(dtype=jnp.bfloat16)
    assert {p.dtype for p in jax.tree.leaves(nnx.state(model, nnx.Param))} == {jnp.dtype("float32")}
    assert model(images()).dtype == jnp.bfloat16
    products = [e for e in all_equations(jax.make_jaxpr(model)(images()).jaxpr) if e.primitive.name == "dot_general"]
    assert len(products) == 1 + 2 * 6
    for product in products:
        assert {v.aval.dtype for v in product.invars} == {jnp.dtype("bfloat16")}
    exact = make()(images())
    assert np.abs(np.asarray(model(images()), np.float32) - np.asarray(exact)).max() < 0.1


def all_equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                yield from all_equations(getattr(inner, "jaxpr", inner))


def test_rematerialisation_changes_no_gradient():
    def gradient(remat):
        graphdef, params = nnx.split(make(remat=remat))
        loss = lambda p: jnp.sum(nnx.merge(graphdef, p)(images()) ** 3)  # noqa: E731
        return nnx.to_pure_dict(jax.jit(jax.grad(loss))(params))

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), gradient(False), gradient(True))


def test_images_do_not_influence_each_other():
    model, batch = make(), images(3)
    np.testing.assert_allclose(model(batch)[1:2], model(batch[1:2]), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"heads": 5}, "24 is not a multiple of 5"), ({"image_size": 33}, "33 is not a multiple of patch size 8")],
)
def test_impossible_sizes_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        make(**changes)


def test_another_image_size_is_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"32, 32, 3\) but got \(2, 40, 40, 3"):
        make()(images(size=40))


def test_position_embeddings_keep_their_picture_when_resized():
    rows, columns = np.mgrid[0:14, 0:14] / 13.0
    grid = np.stack([rows, columns], axis=-1).reshape(1, 196, 2)
    embeddings = jnp.concatenate([jnp.full((1, 1, 2), 7.0), grid], axis=1).astype(jnp.float32)
    assert resize_position_embeddings(embeddings, 224, 16) is embeddings
    small = np.asarray(resize_position_embeddings(embeddings, 112, 16))
    assert small.shape == (1, 50, 2)
    assert np.all(small[:, 0] == 7)
    centres = (np.arange(7) * 2 + 0.5) / 13  # of the new patches, on the old grid
    inner = small[0, 1:].reshape(7, 7, 2)[2:5, 2:5]
    np.testing.assert_allclose(inner[:, 0, 0], centres[2:5], atol=0.01)
    np.testing.assert_allclose(inner[0, :, 1], centres[2:5], atol=0.01)
    with pytest.raises(ValueError, match="square"):
        resize_position_embeddings(jnp.zeros((1, 12, 4)), 224, 16)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.06)])
def test_the_stem_computes_what_its_modules_do(dtype, tolerance):
    stem = ConvStem(24, patch_size=8, dtype=dtype, rngs=nnx.Rngs(0))
    graph, state = nnx.split(stem)
    state = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), state)
    images = jax.random.normal(jax.random.key(1), (3, 32, 32, 3))

    def modules(state, images):
        x, stem = images, nnx.merge(graph, state)
        for convolution, norm in zip(stem.convolutions, stem.norms, strict=True):
            x = gelu(norm(convolution(x)))
        return x.reshape(3, 16, 24)

    def ours(state, images):
        return nnx.merge(graph, state)(images)

    np.testing.assert_allclose(ours(state, images), modules(state, images), atol=tolerance, rtol=tolerance)
    if dtype == jnp.float32:
        weigh = jax.random.normal(jax.random.key(2), (3, 16, 24))
        got, want = (
            jax.grad(lambda s, x, f=f: jnp.sum(f(s, x) * weigh), (0, 1))(state, images) for f in (ours, modules)
        )
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4, rtol=1e-3)


def test_a_convolutional_stem_gives_as_many_tokens_and_keeps_zero_zero():
    model = make(stem="conv")
    assert model(images()).shape == (2, 17, 24)
    white = model.patch_embed(jnp.zeros((1, 32, 32, 3)))
    assert np.abs(white).max() == 0
    with pytest.raises(ValueError, match="patch size 12 must be a power of 2"):
        make(stem="conv", image_size=36, patch_size=12)
