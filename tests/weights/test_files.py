"""Files of every kind: recognised, laid in exactly, and the same embedding from each."""

import json
import logging
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from makers import entries, state_dict, text, with_contents, zeros
from recipe import fill, image
from safetensors.numpy import save, save_file

from effnet_jax.config import ModelConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.models.trees import shapes_of
from effnet_jax.weights.encoder_weights import encoder_tree
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.load import load_encoder, load_encoders
from effnet_jax.weights.save import save_encoder, timm_tensors
from effnet_jax.weights.sources import read_source

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
        WeightsError, match=r"is \(12, 16\), the model needs \(512, 16\)[^$]*The file needs model.embedding_size=12\."
    ):
        load_encoders(config, like, {})


def test_positions_are_interpolated_to_another_image_size():
    encoder, pixels = load_encoder(FILES / "vit.pth", embedding_size=4, image_size=32, **VIT)
    assert encoder.backbone.pos_embed[...].shape == (1, 65, D)
    assert pixels.image_size == 32


def test_preprocessing_beside_the_file_is_taken(tmp_path):
    path = write("timm.safetensors", tmp_path / "model.safetensors")
    scaling = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "input_size": [3, 99, 99]}
    usual = "assumed: usual for timm's vit weights"
    for config, words in (
        ({"architecture": "vit_tiny_patch16_224", "pretrained_cfg": scaling}, "mean, std, filter from config.json"),
        ({"architecture": "deit_tiny_patch16_224", **scaling}, "mean, std, filter from config.json beside the file"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        weights = read_source(path).encoders[0]
        assert (weights.preprocessing.mean, weights.preprocessing.resample) == ((0.1, 0.2, 0.3), "bilinear")
        assert weights.preprocessing.image_size == 16  # as its position embeddings say
        assert weights.preprocessing_source.startswith(words)
    for config, words in (
        ("{", usual),
        ("[1]", usual),
        (json.dumps({"architecture": "vit_tiny_patch16_224"}), usual),
        (json.dumps({"architecture": "resnet50", **scaling}), "config.json beside the file is for resnet50: ignored"),
        (json.dumps({"architecture": "vit_base_patch16_224", **scaling}), "is for vit_base_patch16_224: ignored"),
        (json.dumps(scaling), "beside the file names no architecture: ignored"),
        (json.dumps({"architecture": "vit_tiny", "mean": [0.1]}), "has values that cannot be: ignored"),
        (
            json.dumps({"architecture": "vit_tiny", "mean": [0.1] * 3}),
            "mean from config.json beside the file, the",
        ),
    ):
        (tmp_path / "config.json").write_text(config)
        weights = read_source(path).encoders[0]
        assert words in weights.preprocessing_source
        assert weights.preprocessing.std == (0.5, 0.5, 0.5)


def test_no_head_no_domain_and_no_known_architecture_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="without an embedding head; give embedding_size"):
        load_encoder(FILES / "vit.pth")
    with pytest.raises(WeightsError, match="has the encoders sketch, photo; say which"):
        load_encoder(FILES / "stage1.pth")
    path = tmp_path / "other.safetensors"
    path.write_bytes(save({"conv.weight": np.zeros((3, 3), np.float32)}))
    with pytest.raises(WeightsError, match=r"no architecture that is known here \(1 names: conv.weight"):
        read_source(path)


def test_vgg16_with_its_classifier_is_read_whatever_the_order_of_names(tmp_path):
    values = {"classifier.0.weight": np.zeros((9, 9), np.float32), "classifier.0.bias": np.zeros(9, np.float32)}
    before = 3
    places, widths = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (8,) * 2 + (16,) * 2 + (32,) * 3 + (64,) * 6
    for i, out in zip(places, widths, strict=True):
        values |= {f"features.{i}.weight": np.ones((out, before, 3, 3), np.float32), f"features.{i}.bias": zeros(out)}
        before = out
    save_file(values, tmp_path / "vgg.safetensors")  # which sorts its names: the classifier comes first
    path = tmp_path / "vgg.pth"
    path.write_bytes(state_dict(values))
    for other in (tmp_path / "vgg.safetensors", path):
        (weights,) = read_source(other).encoders
        assert (weights.config.backbone, weights.config.width) == ("vgg16", 8)
        table = weights.found.table()
        assert all(name in weights.found.tensors for name in table)
        np.testing.assert_array_equal(weights.found.tensors["features.2.weight"], values["features.2.weight"])
    del values["features.0.weight"], values["features.2.bias"]
    save_file(values, path)
    with pytest.raises(WeightsError, match=r"missing: features.0.weight\n  missing: features.2.bias"):
        read_source(path.rename(tmp_path / "vgg.safetensors"))


def test_heads_come_from_where_they_stand(tmp_path):
    assert read_source(write("augreg.npz", tmp_path / "w.npz")).encoders[0].config.heads == HEADS
    path = write("huggingface.safetensors", tmp_path / "w.safetensors")
    (weights,) = read_source(path).encoders
    assert (weights.config.heads, weights.assumed) == (1, ("heads",))
    told = {"model_type": "vit", "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4}
    for change, heads in (({}, 4), ({"hidden_size": 24}, 1), ({"num_attention_heads": 3}, 1), ({"model_type": "x"}, 1)):
        (tmp_path / "config.json").write_text(json.dumps(told | change))
        (weights,) = read_source(path).encoders
        assert weights.config.heads == heads
        assert weights.assumed == (() if heads > 1 else ("heads",))


def test_image_size_beside_the_file_counts_where_no_position_embeddings_tell_it(tmp_path):
    config = ModelConfig(backbone="resnet18", width=8, depth=1, weights="none")
    trees = jax.tree.map(lambda x: np.zeros(x.shape, np.float32), shapes_of(config))
    tensors = timm_tensors(config, *trees)
    save_file({name: x for name, x in tensors.items() if not name.startswith("fc.")}, tmp_path / "w.safetensors")
    beside = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [3, 288, 288], "mean": [0.1] * 3}}
    (tmp_path / "config.json").write_text(json.dumps(beside))
    (weights,) = read_source(tmp_path / "w.safetensors").encoders
    assert weights.preprocessing.image_size == weights.config.image_size == 288
    assert weights.preprocessing_source.startswith("image size, mean from config.json beside the file, the rest usual")


def test_problems_of_the_head_are_listed_with_the_others(tmp_path):
    path = tmp_path / "w.safetensors"
    backbone = {f"encoder.{name}": np.ascontiguousarray(x) for name, x in vit_tensors().items()}
    del backbone["encoder.norm.bias"]
    backbone["encoder.blocks.1.mlp.fc1.weight"] = np.zeros((64, D), np.int8)
    kernel = np.full((8, D), np.nan, np.float32)
    save_file(backbone | {"mlp_head.0.weight": kernel, "mlp_head.0.bias": zeros(7)}, path)
    with pytest.raises(WeightsError) as caught:
        encoder_tree(read_source(path).encoders[0])
    for words in (
        "missing: norm.bias", "not finite: mlp_head.0.weight", "misshapen: mlp_head.0.bias is (7,), the model needs (8",
        "not floating point: blocks.1.mlp.fc1.weight holds int8 (quantised",
    ):  # fmt: skip
        assert words in str(caught.value)
    del backbone["encoder.norm.weight"]
    backbone["encoder.patch_embed.proj.weight"] = zeros(D, 3, 4, 5)
    save_file(backbone | {"mlp_head.0.weight": zeros(8, D)}, path)
    with pytest.raises(WeightsError) as caught:  # the shape that is needed is in the file's own layout
        encoder_tree(read_source(path).encoders[0], head=False)
    assert "patch_embed.proj.weight is (16, 3, 4, 5), the model needs (16, 3, 5, 5)" in str(caught.value)


def test_weights_of_timm_that_follow_a_running_mean(tmp_path):
    inner = next(x for name, x in entries("vit.pth") if name.endswith("data.pkl"))
    wrapped = b"\x80\x02}" + text("state_dict_ema") + inner[2:-1] + b"s."
    path = tmp_path / "ema.pth.tar"
    path.write_bytes(with_contents(wrapped))
    assert len(read_source(path).encoders[0].found.tensors) > 20


def five_heads(tmp_path):
    """A ViT of 80 channels, which 64 channels a head would give one head."""
    config = ModelConfig(
        backbone="vit_tiny", width=80, depth=1, heads=5, image_size=16, patch_size=8, embedding_size=4, weights="none"
    )
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes_of(config)[0])
    save_file(timm_tensors(config, {"backbone": params["backbone"]}, {}), tmp_path / "five.safetensors")
    return tmp_path / "five.safetensors"


def test_a_guess_at_the_heads_is_said_and_given_heads_are_taken_without_a_word(tmp_path, caplog):
    path = five_heads(tmp_path)
    tokens = {}
    for options, said in (({}, True), ({"heads": 5}, False), ({"heads": 1}, False)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            encoder, _ = load_encoder(path, embedding_size=4, **options)
        tokens[options.get("heads", 0)] = encoder(jnp.asarray(np.random.default_rng(0).random((1, 16, 16, 3)))).tokens
        messages = [record.getMessage() for record in caplog.records]
        assert len(messages) == said
        for words in (str(path), "heads=1 is assumed", "load_encoder(..., heads=N)"):
            assert not said or words in messages[0]
    np.testing.assert_array_equal(tokens[0], tokens[1])
    assert np.abs(tokens[0] - tokens[5]).max() > 0.1


def test_heads_that_the_file_tells_are_no_guess(tmp_path, caplog):
    huggingface_file = write("huggingface.safetensors", tmp_path / "w.safetensors")
    told = {"model_type": "vit", "hidden_size": D, "num_hidden_layers": 2, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(told))
    with caplog.at_level(logging.WARNING):
        encoder, _ = load_encoder(huggingface_file, embedding_size=4)
        assert encoder.backbone.blocks[0].attn.heads == 4
        load_encoder(write("augreg.npz", tmp_path / "w.npz"), embedding_size=4)
    assert not caplog.records
    (tmp_path / "config.json").unlink()
    with caplog.at_level(logging.WARNING):
        load_encoder(huggingface_file, embedding_size=4)
    assert len(caplog.records) == 1


def test_a_width_that_no_64_channels_divide_is_read_with_fewer_heads_and_kept_with_its_own(tmp_path):
    config = ModelConfig(**{**SMALL, "width": 200, "heads": 4, "depth": 1}, embedding_size=4, weights="none")
    params = jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes_of(config)[0])
    save_file(timm_tensors(config, {"backbone": params["backbone"]}, {}), tmp_path / "timm.safetensors")
    (weights,) = read_source(tmp_path / "timm.safetensors").encoders
    assert (weights.config.heads, weights.assumed) == (2, ("heads",))
    save_encoder(tmp_path / "own.safetensors", config, params, {}, Preprocessing(16))
    (weights,) = read_source(tmp_path / "own.safetensors").encoders
    assert (weights.config.heads, weights.assumed) == (4, ())
