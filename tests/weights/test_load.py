import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from effnet_jax import ViT
from effnet_jax.config import ModelConfig
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.trees import shapes_of
from effnet_jax.weights.load import WeightsError, find_weights, load_encoder, load_encoders
from effnet_jax.weights.names.vit_names import timm_vit
from effnet_jax.weights.save import save_encoder

CONFIG = {"backbone": "vit_tiny", "width": 24, "depth": 2, "heads": 3, "image_size": 32, "patch_size": 16}


def like(image_size=32, depth=2):
    model = nnx.eval_shape(
        lambda: ViT(width=24, depth=depth, heads=3, image_size=image_size, patch_size=16, rngs=nnx.Rngs(0))
    )
    return nnx.to_pure_dict(nnx.state(model, nnx.Param))


def load_backbone(config, like):
    params, _ = load_encoders(config, {"encoder": {"backbone": like, "head": {}}}, {})
    assert params["encoder"]["head"] == {}
    return params["encoder"]["backbone"]


def tensors(depth=2):
    rng = np.random.default_rng(0)
    shapes = {"cls_token": (1, 1, 24), "pos_embed": (1, 5, 24), "patch_embed.proj.weight": (24, 3, 16, 16)}
    for name in timm_vit(depth):
        width = 72 if "qkv" in name else 96 if "fc1" in name else 24
        inner = 96 if "fc2" in name else 24
        matrix = name.endswith("weight") and "norm" not in name
        shapes.setdefault(name, (width, inner) if matrix else (width,))
    return {name: rng.standard_normal(shape).astype(np.float16) for name, shape in shapes.items()}


def write(path, values):
    save_file(values, path)
    return ModelConfig(**CONFIG, weights=str(path))


def test_a_whole_file_fills_every_parameter(tmp_path):
    values = tensors() | {"head.weight": np.zeros((10, 24), np.float16), "head.bias": np.zeros(10, np.float16)}
    loaded = load_backbone(write(tmp_path / "w.safetensors", values), like())
    assert jax.tree.structure(loaded) == jax.tree.structure(like())
    assert {x.dtype for x in jax.tree.leaves(loaded)} == {np.dtype("float32")}
    np.testing.assert_array_equal(loaded["blocks"][1]["attn"]["qkv"]["kernel"], values["blocks.1.attn.qkv.weight"].T)
    kernel = loaded["patch_embed"]["kernel"].reshape(16, 16, 3, 24)
    np.testing.assert_array_equal(kernel[3, 7, 2], values["patch_embed.proj.weight"][:, 2, 3, 7])


def test_position_embeddings_are_interpolated_to_another_size(tmp_path):
    write(tmp_path / "w.safetensors", tensors())
    config = ModelConfig(**{**CONFIG, "image_size": 64}, weights=str(tmp_path / "w.safetensors"))
    loaded = load_backbone(config, like(image_size=64))
    assert loaded["pos_embed"].shape == (1, 17, 24)


def test_all_problems_are_named_at_once(tmp_path):
    values = tensors()
    del values["blocks.0.norm1.bias"]
    values["blocks.7.mlp.fc1.weight"] = np.zeros((96, 24), np.float16)
    values["blocks.1.mlp.fc1.weight"] = np.zeros((95, 24), np.float16)
    values["norm.bias"] = np.full(24, np.nan, np.float16)
    path = tmp_path / "broken.safetensors"
    with pytest.raises(WeightsError) as caught:
        load_backbone(write(path, values), like())
    message = str(caught.value)
    for words in (
        str(path), "missing: blocks.0.norm1.bias", "unexpected: blocks.7.mlp.fc1.weight",
        "misshapen: blocks.1.mlp.fc1.weight is (95, 24)", "not finite: norm.bias",
    ):  # fmt: skip
        assert words in message


def test_a_file_that_is_no_safetensors_is_refused_by_name(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not tensors at all")
    with pytest.raises(WeightsError, match=r"w\.safetensors is not a readable"):
        load_backbone(ModelConfig(**CONFIG, weights=str(path)), like())


def test_without_file_or_network_the_way_out_is_told(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"there is no file .*none\.safetensors; download .*weights=none"):
        find_weights(str(tmp_path / "none.safetensors"))
    with pytest.raises(WeightsError, match="neither a file or folder that is there"):
        find_weights("resnet50")
    import huggingface_hub

    def offline(*_):
        raise OSError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(WeightsError, match=r"could not be fetched \(no route to the hub\); download .*weights=none"):
        find_weights("timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k")


def test_a_file_of_any_name_is_taken(tmp_path):
    for name in ("nested2.pth.tar", "weights", "folder"):
        path = tmp_path / name
        path.mkdir() if name == "folder" else path.write_bytes(b"x")
        assert find_weights(str(path)) == path


def two_encoders(config):
    like = shapes_of(config)[0]
    return {"sketch_encoder": like, "photo_encoder": like}


def test_two_encoders_are_filled_from_the_folder_of_an_export_and_never_from_one_side(tmp_path):
    config = ModelConfig(**CONFIG, embedding_size=4, weights=str(tmp_path))
    like = shapes_of(config)[0]
    trees = {
        domain: jax.tree.map(lambda x: np.full(x.shape, n, np.float32), like)  # noqa: B023
        for n, domain in enumerate(("photo", "sketch"))
    }
    for domain, tree in trees.items():
        save_encoder(tmp_path / f"chairs-{domain}.safetensors", config, tree, {}, Preprocessing(32), domain=domain)
    params, _ = load_encoders(config, two_encoders(config), {})
    for domain, tree in trees.items():
        jax.tree.map(np.testing.assert_array_equal, params[f"{domain}_encoder"], tree)
    params, _ = load_encoders(config, {"encoder": like}, {})  # a shared one takes the photo's
    jax.tree.map(np.testing.assert_array_equal, params["encoder"], trees["photo"])
    encoder, _ = load_encoder(tmp_path, domain="sketch")
    assert float(encoder.head.kernel[...].min()) == 1

    one = ModelConfig(**CONFIG, embedding_size=4, weights=str(tmp_path / "chairs-sketch.safetensors"))
    with pytest.raises(WeightsError, match=r"chairs-sketch.* holds the sketch encoder alone.* Give the folder"):
        load_encoders(one, two_encoders(config), {})
    params, _ = load_encoders(one, {"encoder": like}, {})
    (tmp_path / "chairs-photo.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"must hold one .* it has chairs-sketch.safetensors, for sketch\."):
        load_encoders(config, two_encoders(config), {})
    (tmp_path / "chairs-sketch.safetensors").unlink()
    with pytest.raises(WeightsError, match="it has none"):
        load_encoders(config, two_encoders(config), {})


def test_token_recycling_is_written_and_taken_along(tmp_path):
    sizes = {"backbone": "vit_tiny", "width": 48, "depth": 1, "heads": 3, "image_size": 56, "patch_size": 4}
    config = ModelConfig(**sizes, embedding_size=4, token_recycling=True, weights=str(tmp_path / "w.safetensors"))
    rng = np.random.default_rng(0)
    tree = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), shapes_of(config)[0])
    save_encoder(tmp_path / "w.safetensors", config, tree, {}, Preprocessing(56))
    got, _ = load_encoders(config, {"encoder": shapes_of(config)[0]}, {})
    jax.tree.map(np.testing.assert_array_equal, got["encoder"], tree)
    encoder, _ = load_encoder(tmp_path / "w.safetensors")
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(encoder, nnx.Param)), tree)
    plain = dataclasses.replace(config, token_recycling=False)
    with pytest.raises(WeightsError, match=r"(?s)unexpected: recycling\..*\nThe file needs model.token_recycling=true"):
        load_encoders(plain, {"encoder": shapes_of(plain)[0]}, {})
    without = {name: tree[name] for name in ("backbone", "head")}
    save_encoder(tmp_path / "w.safetensors", config, without, {}, Preprocessing(56))
    with pytest.raises(WeightsError, match=r"missing: recycling\.mix\.kernel"):
        load_encoder(tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="parameters of adapter cannot be written"):
        save_encoder(tmp_path / "x.safetensors", config, {**tree, "adapter": {}}, {}, Preprocessing(56))
    assert not (tmp_path / "x.safetensors").exists()
