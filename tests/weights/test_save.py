import dataclasses
import json

import jax
import numpy as np
import pytest
from safetensors import safe_open

from effnet_jax.config import ModelConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.presets import BACKBONES
from effnet_jax.models.trees import shapes_of
from effnet_jax.weights.architecture import architecture
from effnet_jax.weights.encoder_weights import encoder_tree
from effnet_jax.weights.files.read_safetensors import read_safetensors
from effnet_jax.weights.recognise import recognise
from effnet_jax.weights.save import save_encoder
from effnet_jax.weights.sources import read_source

SMALL = {
    "vit_tiny": {"width": 24, "depth": 2, "heads": 3},
    "swin_tiny": {"width": 24, "depth": 2, "heads": 3},
    "convnext_tiny": {"width": 8, "depth": 2},
    "resnet18": {"width": 8},
    "resnet50": {"width": 8, "depth": 2},
    "vgg16": {"width": 8},
    "inception_v3": {},
}
CASES = [
    *SMALL.items(),
    ("vit_tiny", {**SMALL["vit_tiny"], "stem": "conv", "pooling": "all", "attention": "cudnn", "remat": True}),
    ("vit_tiny", {"width": 48, "depth": 1, "heads": 3, "token_recycling": True, "patch_size": 4, "image_size": 56}),
]


@pytest.mark.parametrize(("backbone", "sizes"), CASES)
def test_round_trip_is_bit_exact_with_everything_that_belongs_to_it(backbone, sizes, tmp_path):
    config = ModelConfig(backbone=backbone, **{"image_size": 96, **sizes}, embedding_size=16, weights="none")
    rng = np.random.default_rng(0)
    trees = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes_of(config))
    pixels = Preprocessing(image_size=96, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), resample="bicubic")
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, config, *trees, pixels, domain="photo")
    (weights,) = read_source(path).encoders
    attention = "merged" if backbone.startswith("vit") else "auto"  # which runs on any device
    wanted = dataclasses.replace(config, attention=attention, remat=False)
    assert (weights.domain, weights.config, weights.preprocessing) == ("photo", wanted, pixels)
    got = encoder_tree(weights)
    assert jax.tree.structure(got) == jax.tree.structure(trees)
    jax.tree.map(np.testing.assert_array_equal, got, trees)
    with safe_open(path, "numpy") as file:  # and the safetensors package agrees
        assert json.loads(file.metadata()["effnet_jax"])["domain"] == "photo"
        assert sum(file.get_tensor(name).size for name in file.keys()) == sum(x.size for x in jax.tree.leaves(trees))  # noqa: SIM118


# the larger presets differ from these in their sizes only
@pytest.mark.parametrize(
    "name", [n for n in BACKBONES if n == "vit_small" or not n.endswith(("small", "base", "large"))]
)
def test_every_preset_is_recognised_from_its_shapes_alone(name, tmp_path):
    config = ModelConfig(backbone=name, weights="none")
    shapes = shapes_of(config)
    trees = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes)
    path = tmp_path / "w.safetensors"
    save_encoder(path, config, {"backbone": trees[0]["backbone"]}, trees[1], Preprocessing())
    tensors, _ = read_safetensors(path)
    found = architecture(recognise(tensors, "w"), "w")
    assert found["backbone"] == name
    assert set(found) <= {"backbone", "image_size", "patch_size"}
