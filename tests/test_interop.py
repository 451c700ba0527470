"""The recipes of docs/interop.md, run word for word."""

import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from commands import environment_of

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "interop.md").read_text()
BLOCKS = {
    re.findall(r"^## (.+)$", TEXT[: found.start()], re.MULTILINE)[-1]: found[1]
    for found in re.finditer(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
}
DEVICES = {"On a mesh with explicit axes": 4}


def run(program, cwd, devices=1):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=cwd,
        env=environment_of(devices) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_recipe_is_known():
    assert len(BLOCKS) == 6


@pytest.mark.parametrize("name", [n for n in BLOCKS if "PyTorch" not in n and "Without" not in n])
def test_recipe(name):
    run(BLOCKS[name], ROOT, DEVICES.get(name, 1))


def test_from_pytorch_and_back(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("timm")
    run(BLOCKS["From PyTorch to us and back"], tmp_path)


def test_without_this_package(tmp_path):
    from effnet_jax.config import ModelConfig
    from effnet_jax.encoders.artefacts import TrainedEncoder, export_encoders
    from effnet_jax.images.preprocessing import Preprocessing
    from effnet_jax.models.effnet import make_functional

    config = ModelConfig(width=24, depth=1, heads=3, image_size=32, backbone="vit_tiny", shared_encoders=True)
    params = make_functional(config).init(jax.random.key(0))["encoder"]
    encoder = TrainedEncoder("photo", config, params, {}, Preprocessing(image_size=32))
    export_encoders([encoder], tmp_path / "exported", formats=["stablehlo"])
    run(BLOCKS["Without this package"], tmp_path)
