"""Checkpoints of EffNet's authors with token modules: laid in from real files, and computing the recorded numbers."""

import dataclasses
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from goldens import assert_close, load, nhwc, under
from makers import FILES, state_dict, zeros
from safetensors.numpy import save_file
from typer.testing import CliRunner

from effnet_jax.cli.program import app
from effnet_jax.config import Config, ModelConfig, TrsmConfig
from effnet_jax.models.effnet import make_functional, make_recycling
from effnet_jax.models.trees import flatten
from effnet_jax.models.trsm import TRSM, make_functional_trsm
from effnet_jax.weights.encoder_weights import encoder_tree
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.load import load_encoder, load_encoders, load_trsm
from effnet_jax.weights.sources import read_source

KINDS = [".pth", ".safetensors"]
TRANSFORMERS = "recycle_model.transformer_models."


def write(path, tensors):
    if path.suffix == ".pth":
        path.write_bytes(state_dict({"model": tensors}))
    else:
        save_file(tensors, path)
    return path


def pixels(array):
    return nhwc(array.astype(np.float32) / np.float32(255))


@pytest.fixture(scope="module")
def stage_2():
    arrays, meta = load("vit_plus")
    c = meta["config"]
    model = ModelConfig(width=c["dim"], image_size=c["img"], embedding_size=c["classes"], backbone="vit_tiny")
    return arrays, c, Config(model=model, trsm=TrsmConfig(heads=c["theads"])), under(arrays, "w/")


def test_a_file_of_stage_2_gives_the_recorded_outputs_of_both_encoders_and_trsm(stage_2, tmp_path):
    arrays, c, config, weights = stage_2
    images, _ = load("vit_plus_inputs")
    path, other = (write(tmp_path / f"best{kind}", weights) for kind in KINDS)
    assert read_source(path).kind == read_source(other).kind == "checkpoint of EffNet's authors, stage 2 (TRSM)"
    tokens = []
    for domain, short in (("photo", "img"), ("sketch", "skt")):
        encoder, _ = load_encoder(path, domain=domain, heads=c["heads"])
        tokens.append(jax.jit(encoder)(pixels(images[f"in/{short}_anchor"])).tokens)
    params, trsm = load_trsm(path, config.model, config.trsm), make_functional_trsm(config.model, config.trsm)
    jax.tree.map(np.testing.assert_array_equal, params, load_trsm(other, config.model, config.trsm))
    like = jax.eval_shape(trsm.init, jax.random.key(0))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(lambda x: (x.shape, x.dtype), like)
    pair = jax.jit(trsm.call(TRSM.__call__))(params, *tokens)
    for got, want in zip(pair, ("vit_img", "vit_skt", "mlp_img", "mlp_skt"), strict=True):
        assert_close(got, arrays[f"out/anchor/{want}"], 1e-5, want)


def test_trsm_that_does_not_fit_is_refused_with_every_tensor(stage_2, tmp_path):
    _, _, config, weights = stage_2
    changed = {name: x for name, x in weights.items() if name != "trsm.proj1.bias"}
    changed |= {"trsm.more.weight": zeros(2, 2), "img_mlp_head.weight": zeros(7, 48)}
    with pytest.raises(WeightsError) as caught:
        load_trsm(write(tmp_path / "w.pth", changed), config.model, config.trsm)
    assert str(caught.value).splitlines()[1:] == [
        "  missing: trsm.proj1.bias",
        "  unexpected: trsm.more.weight",
        "  misshapen: img_mlp_head.weight is (7, 48), the model needs (32, 48)",
    ]
    with pytest.raises(WeightsError, match=r"stage1\.pth \(PyTorch file\) holds no TRSM of EffNet's authors"):
        load_trsm(FILES / "stage1.pth", config.model, config.trsm)
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match="neither a PyTorch file nor"):
        load_trsm(tmp_path / "w.pth", config.model, config.trsm)


@pytest.fixture(scope="module")
def recycling():
    arrays, meta = load("arnet_encoder")
    weights = under(arrays, "w/")
    return arrays, meta["config"], weights, {n: x for n, x in weights.items() if not n.startswith(TRANSFORMERS)}


def test_an_encoder_with_its_whole_mstr_gives_the_recorded_embedding(recycling, tmp_path):
    arrays, c, weights, _ = recycling
    path, other = (write(tmp_path / f"w{kind}", weights) for kind in KINDS)
    jax.tree.map(np.testing.assert_array_equal, *(encoder_tree(read_source(p).encoders[0]) for p in (path, other)))
    encoder, preprocessing = load_encoder(path, heads=c["heads"])
    assert (preprocessing.mean, preprocessing.std, preprocessing.image_size) == ((0, 0, 0), (1, 1, 1), c["img"])
    encoding = jax.jit(encoder)(pixels(load("arnet_encoder_inputs")[0]["in/image"]))
    assert_close(encoding.embedding, arrays["out/mlp_feat"], 1e-5)
    assert_close(np.mean(encoding.decorrelation), arrays["out/decorrelation"], 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_mstr_as_published_without_its_transformers_is_refused_unless_asked_for(kind, recycling, tmp_path):
    _, c, _, published = recycling
    path = write(tmp_path / f"w{kind}", published)
    with pytest.raises(WeightsError, match=r"lacks the transformers .* load_encoder\(FILE, random_recycling=True\)"):
        load_encoder(path, heads=c["heads"])
    encoder, _ = load_encoder(path, heads=c["heads"], random_recycling=True, recycling_hidden=16)
    mstr = encoder.recycling
    np.testing.assert_array_equal(mstr.mix.kernel[...], published["recycle_model.fc.weight"].T)
    assert mstr.as_published
    kernel = mstr.transformers[2][1].fc1.kernel[...]
    assert (kernel.shape, bool(np.std(kernel) > 0)) == ((c["dim"], 16), True)


def test_training_with_mstr_starts_from_what_the_file_has_and_says_what_it_lacks(recycling, tmp_path, caplog):
    _, c, weights, published = recycling
    sizes = {"backbone": "vit_tiny", "width": c["dim"], "depth": c["depth"], "heads": c["heads"]}
    config = ModelConfig(
        **sizes, embedding_size=c["classes"], token_recycling=True, recycling_hidden=c["ffn"], shared_encoders=True,
        weights=str(write(tmp_path / "published.pth", published)),
    )  # fmt: skip
    fresh = jax.tree.map(np.asarray, make_functional(config).init(jax.random.key(0)))
    with caplog.at_level(logging.WARNING):
        loaded, _ = load_encoders(config, fresh, {})
    (record,) = caplog.records
    assert "published" in record.getMessage()
    assert "lacks the transformers of MSTR" in record.getMessage()
    assert jax.tree.structure(loaded) == jax.tree.structure(fresh)
    got, before = flatten(loaded["encoder"]["recycling"]), flatten(fresh["encoder"]["recycling"])
    np.testing.assert_array_equal(got["mix", "kernel"], published["recycle_model.fc.weight"].T)
    for path in before:
        assert path[0] == "mix" or np.array_equal(got[path], before[path])

    whole = dataclasses.replace(config, weights=str(write(tmp_path / "whole.safetensors", weights)))
    caplog.clear()
    loaded, _ = load_encoders(whole, fresh, {})
    assert not caplog.records
    inner = loaded["encoder"]["recycling"]["transformers"][1][0]
    name = f"{TRANSFORMERS}1.layers.0"
    np.testing.assert_array_equal(inner["qkv"]["kernel"], weights[f"{name}.self_attn.in_proj_weight"].T)
    np.testing.assert_array_equal(inner["norm2"]["bias"], weights[f"{name}.norm2.bias"])
    plain = dataclasses.replace(config, token_recycling=False, recycling_hidden=2048)
    like = {"encoder": {name: fresh["encoder"][name] for name in ("backbone", "head")}}
    with pytest.raises(WeightsError, match=r"(?s)unexpected: recycle_model\.fc.* needs model\.token_recycling=true"):
        load_encoders(plain, like, {})
    wide = dataclasses.replace(whole, recycling_hidden=16)
    like = jax.eval_shape(make_functional(wide).init, jax.random.key(0))
    with pytest.raises(WeightsError, match=r"The file needs model\.recycling_hidden=64\."):
        load_encoders(wide, like, {})


def test_convert_says_that_the_transformers_are_not_there_and_writes_none(recycling, tmp_path):
    path = write(tmp_path / "w.pth", recycling[3])
    done = CliRunner().invoke(app, ["convert", str(path), "--check"], catch_exceptions=False)
    assert "token recycling without its transformers, which the authors never saved" in done.stdout
    with pytest.raises(WeightsError, match="lacks the transformers"):
        CliRunner().invoke(app, ["convert", str(path), str(tmp_path / "o.safetensors")], catch_exceptions=False)
    assert not (tmp_path / "o.safetensors").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_state_dict_with_the_authors_names_is_fed_as_the_authors_feed_it(kind, tmp_path):
    inner = read_source(FILES / "stage1.pth").encoders[0].found.tensors
    names = {name: name if name.startswith("mlp_head.") else f"encoder.{name}" for name in inner}
    bare = {names[name]: np.ascontiguousarray(x) for name, x in inner.items()}
    path = tmp_path / f"w{kind}"
    path.write_bytes(state_dict(bare)) if kind == ".pth" else save_file(bare, path)
    (weights,) = read_source(path).encoders
    assert weights.preprocessing == read_source(FILES / "stage1.pth").encoders[0].preprocessing
    assert (weights.preprocessing.mean, weights.preprocessing.std) == ((0, 0, 0), (1, 1, 1))
    assert weights.preprocessing.resample == "bilinear"
    assert weights.preprocessing_source == "as the authors train: [0, 1], nothing more"
    headless = {name: x for name, x in bare.items() if not name.startswith("mlp_head.")}  # anybody's ViT
    save_file(headless, tmp_path / "x.safetensors")
    (weights,) = read_source(tmp_path / "x.safetensors").encoders
    assert (weights.preprocessing.std, weights.preprocessing.resample) == ((0.5, 0.5, 0.5), "bicubic")


@pytest.mark.parametrize("kind", KINDS)
def test_state_dicts_of_both_encoders_are_read_in_every_form(kind, stage_2, tmp_path):
    weights = {name: x for name, x in stage_2[3].items() if name.startswith(("img_model.", "skt_model."))}
    path = write(tmp_path / f"w{kind}", weights)
    source = read_source(path)
    assert (source.kind, source.extra) == ("checkpoint of EffNet's authors, stage 1", ())
    assert [encoder.domain for encoder in source.encoders] == ["sketch", "photo"]
    for encoder, side in zip(source.encoders, ("skt_model", "img_model"), strict=True):
        np.testing.assert_array_equal(encoder.found.tensors["norm.bias"], weights[f"{side}.encoder.norm.bias"])


def test_the_configuration_reaches_mstr():
    config = ModelConfig(
        backbone="vit_tiny", depth=1, token_recycling=True, recycling_heads=6, recycling_hidden=5,
        recycling_as_published=True, shared_encoders=True,
    )  # fmt: skip
    model = make_functional(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0))["encoder"]["recycling"]["transformers"]
    assert shapes[0][0]["fc1"]["kernel"].shape == (192, 5)
    mstr = nnx.eval_shape(lambda: make_recycling(config, rngs=nnx.Rngs(0)))
    assert (mstr.transformers[0][0].heads, mstr.as_published) == (6, True)
    assert jnp.shape(mstr.mix.kernel) == (249, 1)
