"""Every backbone against recorded numbers: of the original, and of torchvision and timm (record_torch.py).

Most published sizes take long; of each family a small case is quick.
"""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from encoders import make_encode, no_head, rebuild, shaped
from goldens import assert_close, load, nhwc
from recipe import hash_uniform

from effnet_jax.config import ModelConfig
from effnet_jax.models.convnext import ConvNeXt
from effnet_jax.models.swin import Swin
from effnet_jax.weights.names.targets import to_ours

FORWARD, GRADIENT = 1e-5, 5e-5
ORIGINAL = {  # golden: backbone, image size, name of the embedding
    "recipe_swin_base_patch4_window7_224": ("swin_base", 224, "cls"),
    "recipe_vgg16": ("vgg16", 96, "out"),
    "recipe_resnet50": ("resnet50", 96, "out"),
    "recipe_inception_v3": ("inception_v3", 112, "out"),
}
NARROW = {  # golden: a smaller network than any published one
    "torch_swin_narrow_128": partial(Swin, width=12, depths=(2, 2, 2, 2), window=3, image_size=128),
    "torch_convnext_narrow_70": partial(ConvNeXt, widths=(8, 16, 32, 64), depths=(1, 1, 2, 1), image_size=70),
}
TORCH = {  # golden: backbone, image size
    "torch_swin_tiny_224": ("swin_tiny", 224),
    "torch_swin_tiny_256": ("swin_tiny", 256),
    "torch_swin_small_224": ("swin_small", 224),
    "torch_convnext_tiny_96": ("convnext_tiny", 96),
    "torch_convnext_tiny_101": ("convnext_tiny", 101),
    "torch_convnext_small_64": ("convnext_small", 64),
    "torch_convnext_base_64": ("convnext_base", 64),
    "torch_resnet18_96": ("resnet18", 96),
    "torch_resnet50_65": ("resnet50", 65),
}
QUICK = (*NARROW, "torch_resnet18_96", "recipe_vgg16", "recipe_resnet50", "recipe_inception_v3")


def cases(names):
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", cases(ORIGINAL))
def test_the_originals_encoders(name):
    arrays, meta = load(name)
    backbone, size, embedding = ORIGINAL[name]
    encoder = shaped(ModelConfig(backbone=backbone, image_size=size))
    found, params, stats, images = rebuild(meta, encoder)
    weight, bias = (found.tensors[f"{found.head}.{part}"] for part in ("weight", "bias"))
    head = {"kernel": to_ours(weight, "linear"), "bias": to_ours(bias, "same")}
    before = {"backbone": stats} if stats else {}
    encoding, after = make_encode(encoder)({"backbone": params, "head": head}, before, images)
    assert_close(encoding.feature, arrays["out/feature/full"], FORWARD, "feature")
    assert_close(encoding.embedding, arrays[f"out/{embedding}/full"], FORWARD, "embedding")
    jax.tree.map(np.testing.assert_array_equal, before, after)


@pytest.mark.parametrize("name", cases([*NARROW, *TORCH]))
def test_torchvision_and_timm(name):
    arrays, meta = load(name)
    encoder = shaped(NARROW.get(name) or ModelConfig(backbone=TORCH[name][0], image_size=TORCH[name][1]))
    found, params, stats, images = rebuild(meta, encoder)
    encode, head, stats = make_encode(encoder), no_head(encoder), {"backbone": stats} if stats else {}
    cotangent = hash_uniform("cotangent", arrays["feature"].shape).astype(np.float32)

    @jax.jit
    def probe(params, images):
        feature = encode({"backbone": params, "head": head}, stats, images)[0].feature
        return jnp.sum(feature * cotangent), feature

    (_, feature), (of_params, of_images) = jax.value_and_grad(probe, argnums=(0, 1), has_aux=True)(params, images)
    assert_close(feature, arrays["feature"], FORWARD, "feature")
    assert_close(of_images[:, :8, :8], nhwc(arrays["gradient_of_image/corner"]), GRADIENT, "gradient of the image")
    assert np.linalg.norm(np.float64(of_images)) == pytest.approx(arrays["gradient_of_image/l2"], rel=GRADIENT)
    table, norms = found.table(), json.loads(str(arrays["gradient_norms"]))
    assert len(norms) >= 5
    for tensor, norm in norms.items():
        leaf = of_params
        for part in table[tensor].path:
            leaf = leaf[part]
        assert np.linalg.norm(np.float64(leaf)) == pytest.approx(norm, rel=2e-4), tensor


@pytest.mark.usefixtures("unchecked")  # no configuration asks for double precision
@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("resnet18", 96),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in (("resnet50", 96), ("inception_v3", 112))),
    ],
)
def test_training_mode_and_running_statistics(backbone, size):
    """In double precision; in single precision a batch norm over few cells magnifies rounding to 1e-3 on both sides."""
    arrays, meta = load(f"torch_{backbone}_train")
    with jax.enable_x64(True):
        encoder = shaped(ModelConfig(backbone=backbone, image_size=size, dtype="float64"))
        found, params, stats, images = rebuild(meta, encoder)
        wide = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)  # noqa: E731
        head, keys = no_head(encoder), jax.random.split(jax.random.key(0), images.shape[0])
        params, stats = wide({"backbone": params, "head": head}), wide({"backbone": stats})
        encoding, after = make_encode(encoder)(params, stats, jnp.asarray(images, jnp.float64), keys)
        assert encoding.tokens.dtype == jnp.float64
        assert_close(encoding.tokens.max(axis=1), arrays["f64/feature"], 1e-10, "feature")
        norms = json.loads(str(arrays["f64/after_l2"]))
        for name, target in found.table().items():
            if target.statistic:
                leaf = after["backbone"]
                for part in target.path:
                    leaf = leaf[part]
                assert np.linalg.norm(leaf) == pytest.approx(norms.pop(name), rel=1e-10), name
                if f"f64/after/{name}" in arrays:
                    assert_close(leaf, arrays[f"f64/after/{name}"], 1e-10, name)
        assert not norms


@pytest.mark.parametrize("name", cases(["recipe_resnet50", "recipe_inception_v3"]))
def test_the_originals_training_mode(name):
    arrays, meta = load(name)
    encoder = shaped(ModelConfig(backbone=ORIGINAL[name][0], image_size=ORIGINAL[name][1]))
    found, params, stats, images = rebuild(meta, encoder)
    keys = jax.random.split(jax.random.key(0), images.shape[0])
    encoding, after = make_encode(encoder)(
        {"backbone": params, "head": no_head(encoder)}, {"backbone": stats}, images, keys
    )
    assert_close(encoding.feature, arrays["train/feature/full"], 2e-3, "feature")  # see the test above
    table, prefix = found.table(), "train/after_one_forward/"
    recorded = [key for key in arrays if key.startswith(prefix)]
    assert len(recorded) == 6
    for key in recorded:
        leaf = after["backbone"]
        for part in table[key.removeprefix(prefix).removeprefix("features.")].path:
            leaf = leaf[part]
        assert_close(leaf, arrays[key], 1e-4, key)
