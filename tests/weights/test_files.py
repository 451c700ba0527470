"""Files of every kind: recognised, laid in exactly, and the same embedding from each."""

import json
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from recipe import fill, image
from safetensors.numpy import save, save_file

from effnet_jax.config import ModelConfig
from effnet_jax.models.effnet import make_functional
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.load import load_encoder, load_encoders
from effnet_jax.weights.sources import encoder_tree, read_source

FILES = Path(__file__).parent / "files"
VIT = {"heads": 2}  # sixteen channels do not tell their number of heads
D, HEADS = 16, 2


def vit_tensors():
    """The tensors of vit.pth by their recipe, in torch's layouts."""
    found = read_source(FILES / "vit.pth").encoders[0].found.tensors
    return {name: fill(name, x.shape, 1.0, "") for name, x in found.items()}


def outputs(name):
    with np.load(FILES / "outputs.npz", allow_pickle=False) as file:
        return file[name]


def encode(path, **options):
    encoder, pixels = load_encoder(path, **{"embedding_size": 4, **VIT, **options})
    images = jnp.asarray(image("input", (2, 3, 16, 16)).transpose(0, 2, 3, 1))
    graphdef, state = nnx.split(encoder)
    return jax.jit(lambda s, x: nnx.merge(graphdef, s)(x))(state, images), pixels


def huggingface(tensors):
    names = {
        "cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias",
    }  # fmt: skip
    inner = {
        "attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
        "norm1": "layernorm_before", "norm2": "layernorm_after",
    }  # fmt: skip
    found = {}
    for name, x in tensors.items():
        if name in names:
            found[f"vit.{names[name]}"] = x
            continue
        _, block, *middle, kind = name.split(".")
        layer, middle = f"vit.encoder.layer.{block}", ".".join(middle)
        if middle == "attn.qkv":
            for i, part in enumerate(("query", "key", "value")):
                found[f"{layer}.attention.attention.{part}.{kind}"] = x[i * D : (i + 1) * D]
        else:
            found[f"{layer}.{inner[middle]}.{kind}"] = x
    return found | {"classifier.weight": np.zeros((3, D), np.float32), "classifier.bias": np.zeros(3, np.float32)}


def augreg(tensors):
    found = {
        "cls": tensors["cls_token"],
        "Transformer/posembed_input/pos_embedding": tensors["pos_embed"],
        "embedding/kernel": tensors["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": tensors["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": tensors["norm.weight"],
        "Transformer/encoder_norm/bias": tensors["norm.bias"],
        "head/kernel": np.zeros((D, 3), np.float32),
        "head/bias": np.zeros(3, np.float32),
    }
    for i in range(2):
        block, layer = f"blocks.{i}", f"Transformer/encoderblock_{i}"
        attention = f"{layer}/MultiHeadDotProductAttention_1"
        for ours, theirs in (("norm1", "LayerNorm_0"), ("norm2", "LayerNorm_2")):
            found[f"{layer}/{theirs}/scale"] = tensors[f"{block}.{ours}.weight"]
            found[f"{layer}/{theirs}/bias"] = tensors[f"{block}.{ours}.bias"]
        for j, part in enumerate(("query", "key", "value")):
            rows = slice(j * D, (j + 1) * D)
            weight, bias = tensors[f"{block}.attn.qkv.weight"][rows], tensors[f"{block}.attn.qkv.bias"][rows]
            found[f"{attention}/{part}/kernel"] = weight.T.reshape(D, HEADS, -1)
            found[f"{attention}/{part}/bias"] = bias.reshape(HEADS, -1)
        found[f"{attention}/out/kernel"] = tensors[f"{block}.attn.proj.weight"].T.reshape(HEADS, -1, D)
        found[f"{attention}/out/bias"] = tensors[f"{block}.attn.proj.bias"]
        for j, part in enumerate(("fc1", "fc2")):
            found[f"{layer}/MlpBlock_3/Dense_{j}/kernel"] = tensors[f"{block}.mlp.{part}.weight"].T
            found[f"{layer}/MlpBlock_3/Dense_{j}/bias"] = tensors[f"{block}.mlp.{part}.bias"]
    return found


def write(kind, path):
    tensors = {name: np.ascontiguousarray(x) for name, x in vit_tensors().items()}
    if kind == "timm.safetensors":
        save_file(tensors, path)
    elif kind == "huggingface.safetensors":
        save_file({name: np.ascontiguousarray(x) for name, x in huggingface(tensors).items()}, path)
    elif kind == "augreg.npz":
        np.savez(path, **augreg(tensors))
    elif kind == "compressed.npz":
        np.savez_compressed(path, **augreg(tensors))
    elif kind == "columns.npz":
        np.savez(path, **{name: np.asfortranarray(x) for name, x in augreg(tensors).items()})
    return path


@pytest.mark.parametrize("kind", ["vit.pth", "wrapped.pt", "strided.pth"])
def test_files_of_pytorch_give_timms_tokens(kind):
    if kind == "strided.pth":  # the same numbers, transposed: only the square matrices can be laid in
        values = read_source(FILES / kind).encoders[0].found.tensors
        for name, x in vit_tensors().items():
            np.testing.assert_array_equal(values[name], x.T if x.ndim == 2 else x)
        return
    encoding, pixels = encode(FILES / kind)
    np.testing.assert_allclose(encoding.tokens, outputs("tokens"), atol=1e-5)
    assert (pixels.mean, pixels.image_size) == ((0.5, 0.5, 0.5), 16)


@pytest.mark.parametrize(
    "kind", ["timm.safetensors", "huggingface.safetensors", "augreg.npz", "compressed.npz", "columns.npz"]
)
def test_every_format_gives_the_same_parameters_bit_for_bit(kind, tmp_path):
    wanted, _ = encoder_tree(read_source(FILES / "vit.pth").encoders[0])
    got, _ = encoder_tree(read_source(write(kind, tmp_path / kind)).encoders[0])
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_bfloat16_is_read_exactly(tmp_path):
    tensors = vit_tensors()
    rounded = {
        name: ((x.view(np.uint32) + 0x7FFF + ((x.view(np.uint32) >> 16) & 1)) >> 16) for name, x in tensors.items()
    }
    header, place = {}, 0
    for name, x in rounded.items():
        header[name] = {"dtype": "BF16", "shape": list(x.shape), "data_offsets": [place, place + 2 * x.size]}
        place += 2 * x.size
    text = json.dumps(header).encode()
    path = tmp_path / "bfloat16.safetensors"
    path.write_bytes(
        struct.pack("<Q", len(text)) + text + b"".join(x.astype("<u2").tobytes() for x in rounded.values())
    )
    arrays = {name: np.ascontiguousarray(x).astype("<u2").view("V2") for name, x in rounded.items()}
    np.savez(tmp_path / "bfloat16.npz", **arrays)
    wanted = read_source(FILES / "bfloat16.pth").encoders[0].found.tensors
    for other in (path, tmp_path / "bfloat16.npz"):
        got = read_source(other).encoders[0].found.tensors
        assert set(got) == set(wanted)
        for name, x in got.items():
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x, wanted[name])


@pytest.mark.parametrize(
    ("name", "size", "kind"), [("stage1", 8, "stage 1"), ("stage1_12", 12, "stage 1"), ("stage2", 8, "stage 2")]
)
def test_checkpoints_of_the_authors(name, size, kind):
    source = read_source(FILES / f"{name}.pth")
    assert kind in source.kind
    assert [e.domain for e in source.encoders] == ["sketch", "photo"]
    wanted = {"epoch": 5, "loss": 0.5, "top1": 74.25, "top5": 93.5, "top10": 97.5}
    if kind == "stage 1":
        wanted = {"epoch": 12, "loss": 1.5, "top1": 73.31, "top5": 93.25, "top10": 97.15}
    assert source.about == wanted
    assert source.extra == (("trsm.proj1.weight", "img_mlp_head.weight") if kind == "stage 2" else ())
    encoding, pixels = encode(FILES / f"{name}.pth", domain="photo", embedding_size=0)
    np.testing.assert_allclose(encoding.feature, outputs("photo_feature"), atol=1e-5)
    head = fill("mlp_head.0.weight", (size, D), 1.0, "photo:"), fill("mlp_head.0.bias", (size,), 1.0, "photo:")
    np.testing.assert_allclose(encoding.embedding, outputs("photo_feature") @ head[0].T + head[1], atol=1e-5)
    assert (pixels.mean, pixels.std) == ((0, 0, 0), (1, 1, 1))


SMALL = {"width": 16, "depth": 2, "heads": 2, "patch_size": 4, "image_size": 16, "backbone": "vit_tiny"}


@pytest.mark.parametrize("shared", [False, True])
def test_each_encoder_of_a_model_gets_its_own(shared):
    config = ModelConfig(**SMALL, embedding_size=8, shared_encoders=shared, weights=str(FILES / "stage1.pth"))
    like = jax.eval_shape(make_functional(config).init, jax.random.key(0))
    params, stats = load_encoders(config, like, {})
    assert stats == {}
    assert jax.tree.structure(params) == jax.tree.structure(like)
    for name, tree in params.items():
        salt = "sketch:" if name == "sketch_encoder" else "photo:"
        kernel = fill("mlp_head.0.weight", (8, D), 1.0, salt).T
        np.testing.assert_array_equal(tree["head"]["kernel"], kernel)
        np.testing.assert_array_equal(tree["backbone"]["cls_token"], fill("cls_token", (1, 1, D), 1.0, salt))


def test_a_head_of_another_size_is_refused_with_the_way_out():
    config = ModelConfig(**SMALL, embedding_size=512, weights=str(FILES / "stage1_12.pth"))
    like = jax.eval_shape(make_functional(config).init, jax.random.key(0))
    with pytest.raises(
        WeightsError, match=r"shape \(12, 16\), the model needs \(512, 16\); set model.embedding_size=12"
    ):
        load_encoders(config, like, {})


def test_positions_are_interpolated_to_another_image_size():
    encoder, pixels = load_encoder(FILES / "vit.pth", embedding_size=4, image_size=32, **VIT)
    assert encoder.backbone.pos_embed[...].shape == (1, 65, D)
    assert pixels.image_size == 32


def test_preprocessing_beside_the_file_is_taken(tmp_path):
    path = write("timm.safetensors", tmp_path / "model.safetensors")
    config = {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = read_source(path).encoders[0]
    assert (weights.preprocessing.mean, weights.preprocessing.resample) == ((0.1, 0.2, 0.3), "bilinear")
    assert weights.preprocessing_source == "from config.json beside the file"
    (tmp_path / "config.json").write_text("{")
    assert read_source(path).encoders[0].preprocessing_source.startswith("assumed")


def test_no_head_no_domain_and_no_known_architecture_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="without an embedding head; give embedding_size"):
        load_encoder(FILES / "vit.pth")
    with pytest.raises(WeightsError, match="has the encoders sketch, photo; say which"):
        load_encoder(FILES / "stage1.pth")
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"conv.weight": np.zeros((3, 3), np.float32)}))
    with pytest.raises(WeightsError, match=r"no architecture that is known here \(1 names: conv.weight"):
        read_source(path)
