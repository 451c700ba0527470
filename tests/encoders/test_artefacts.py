"""Encoders out of a run: files that timm reads, and artefacts that run with jax alone."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from tiny import drawn

from effnet_jax.config import Config, ModelConfig
from effnet_jax.encoders.artefacts import TrainedEncoder, export_encoders, one_by_one
from effnet_jax.images.preprocessing import Preprocessing
from effnet_jax.models.effnet import make_functional
from effnet_jax.runs.checkpoints import Checkpoints
from effnet_jax.runs.folder import trained_encoders
from effnet_jax.runs.state import make_state
from effnet_jax.stages.alignment.alignment_objective import init_variables
from effnet_jax.training.optim import make_optimizer
from effnet_jax.weights.errors import WeightsError
from effnet_jax.weights.load import load_encoder
from effnet_jax.weights.sources import read_source

SIZES = {
    "vit_tiny": {"width": 24, "depth": 1, "heads": 3, "image_size": 32},
    "swin_tiny": {"width": 12, "depth": 2, "heads": 3, "image_size": 64},
    "convnext_tiny": {"width": 8, "depth": 1, "image_size": 32},
    "resnet18": {"width": 8, "depth": 1, "image_size": 32},
}
ALONE = """
    import sys
    import jax, numpy as np
    from jax import export
    images = np.load(sys.argv[2])
    embed = export.deserialize(open(sys.argv[1], "rb").read())
    assert embed.platforms == ("cpu", "cuda", "tpu")
    np.save(sys.argv[3], embed.call(images))
    assert not [name for name in sys.modules if name.startswith(("effnet_jax", "flax"))]
"""


def trained(backbone, domain=""):
    config = ModelConfig(backbone=backbone, **SIZES[backbone], embedding_size=8, shared_encoders=True, weights="none")
    model = make_functional(config)
    params, stats = (
        drawn(jax.eval_shape(model.init, jax.random.key(0)))["encoder"],
        model.init_batch_stats().get("encoder", {}),
    )
    stats = jax.tree.map(lambda x: x + 0.03, stats)
    pixels = Preprocessing(image_size=config.image_size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    return TrainedEncoder(domain, config, params, stats, pixels)


@pytest.mark.parametrize(
    "backbone", [pytest.param(n, marks=pytest.mark.slow if n in ("swin_tiny", "convnext_tiny") else ()) for n in SIZES]
)
def test_the_artefact_runs_without_this_package(backbone, tmp_path):
    encoder = trained(backbone, "photo")
    about = export_encoders([encoder], tmp_path, formats=["stablehlo"])
    size = encoder.preprocessing.image_size
    images = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), np.uint8)
    np.save(tmp_path / "images.npy", images)
    arguments = [str(tmp_path / name) for name in ("photo.stablehlo", "images.npy", "out.npy")]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ALONE), *arguments],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_DEFAULT_MATMUL_PRECISION": "float32"},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    live = np.asarray(jax.jit(encoder.embed)(images))
    assert np.abs(live).max() > 0.01
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), live, atol=1e-5)
    entry = about["files"]["photo.stablehlo"]
    assert entry["preprocessing"] == encoder.preprocessing.to_dict()
    assert json.loads((tmp_path / "about.json").read_text()) == about


def test_the_device_that_trained_leaves_no_trace(tmp_path):
    encoder = trained("vit_tiny")
    encoder = dataclasses.replace(encoder, params=jax.device_get(encoder.params))
    fast = dataclasses.replace(encoder, config=dataclasses.replace(encoder.config, attention="cudnn", remat=True))
    images = np.zeros((1, 32, 32, 3), np.uint8)
    plain = dataclasses.replace(encoder, config=dataclasses.replace(encoder.config, attention="merged"))
    assert str(jax.make_jaxpr(fast.embed)(images)) == str(jax.make_jaxpr(plain.embed)(images))
    export_encoders([fast], tmp_path, formats=["safetensors"])
    assert read_source(tmp_path / "encoder.safetensors").encoders[0].config == plain.config


def test_what_differs_from_the_live_encoder_is_not_written(tmp_path, monkeypatch):
    encoder = trained("vit_tiny")
    monkeypatch.setattr("effnet_jax.encoders.artefacts.TOLERANCE", -1.0)
    with pytest.raises(WeightsError, match=r"encoder.stablehlo would be off by"):
        export_encoders([encoder], tmp_path, formats=["stablehlo"])
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WeightsError, match="formats onyx are not known"):
        export_encoders([encoder], tmp_path, formats=["onyx"])


def test_onnx_says_what_it_needs_or_computes_the_same(tmp_path):
    encoder = trained("vit_tiny", "photo")
    try:
        import jax2onnx  # noqa: F401
        import onnxruntime
    except ImportError:
        with pytest.raises(WeightsError, match=r"\.\[onnx\]"):
            export_encoders([encoder], tmp_path, formats=["onnx"])
        assert list(tmp_path.iterdir()) == []
        return
    about = export_encoders([encoder], tmp_path, formats=["onnx"])
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    session = onnxruntime.InferenceSession(str(tmp_path / "photo.onnx"), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: images})
    np.testing.assert_allclose(got, encoder.embed(jax.numpy.asarray(images)), atol=1e-5)
    assert about["files"]["photo.onnx"]["off_by_at_most"] <= 1e-5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a CNN with two checkpoints, the first of which is the best."""
    workdir = tmp_path_factory.mktemp("run")
    model_config = ModelConfig(backbone="resnet18", **SIZES["resnet18"], embedding_size=8, weights="none")
    config = Config(model=model_config)
    pixels = Preprocessing(image_size=model_config.image_size)
    about = {"model": dataclasses.asdict(model_config), "preprocessing": pixels.to_dict()}
    model, optimizer = make_functional(model_config), make_optimizer(config.optim, 100)
    with Checkpoints(workdir / "checkpoints", keep=5, best_by=("best_on_validation",)) as checkpoints:
        for step, score in ((1, 50.0), (2, 40.0)):
            fresh = init_variables(model, config, jax.random.key(step))
            stats = jax.tree.map(lambda x: x * step, fresh.batch_stats)  # noqa: B023
            state = make_state(fresh._replace(batch_stats=stats), optimizer)
            state = dataclasses.replace(state, step=state.step + step)
            checkpoints.save(state, about, {"eval/validation/mrr": score})
    return workdir, model


def test_encoders_of_a_run(run, tmp_path):
    workdir, model = run
    for asked, step in (("best", 1), ("last", 2), ("2", 2)):
        both = trained_encoders(workdir, asked)
        encoders, about = one_by_one(both), both.origin
        assert about["step"] == step
        assert [e.domain for e in encoders] == ["sketch", "photo"]
        wanted = model.init(jax.random.key(step))
        jax.tree.map(np.testing.assert_array_equal, encoders[1].params, wanted["photo_encoder"])
        assert encoders[0].batch_stats["backbone"]["stem"]["norm"]["var"][0] == step
    export_encoders(encoders, tmp_path, formats=["safetensors"], about=about)
    encoder, pixels = load_encoder(tmp_path / "sketch.safetensors")
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    scaled = jax.numpy.asarray(images / np.float32(255))
    np.testing.assert_allclose(encoder(scaled).embedding, encoders[0].embed(jax.numpy.asarray(images)), atol=1e-5)
    assert pixels.image_size == 32


@pytest.mark.parametrize(
    ("asked", "words"), [("7", r"no checkpoint '7'.* one of the steps 1, 2"), ("best_on_test", "measured no")]
)
def test_a_checkpoint_that_is_not_there(run, asked, words):
    with pytest.raises(ValueError, match=words):
        trained_encoders(run[0], asked)
