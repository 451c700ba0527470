"""Every benchmark of the training path runs at toy size; the step benchmark needs the array libraries only."""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOY = ["--size=32", "--depth=1", "--rounds=1"]
# everything of our dependencies but jax, flax, optax, numpy, einops, jaxtyping and what these need themselves
BARE = ("tensorflow", "tensorflow_datasets", "grain", "array_record", "PIL", "matplotlib", "typer", "ml_collections",
        "tensorboardX", "safetensors", "huggingface_hub", "sklearn", "torch")  # fmt: skip


def run(*command):
    path = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_step_needs_the_array_libraries_only():
    program = f"""
        import runpy, sys
        class Bare:  # an import of what is not there fails
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {BARE!r}:
                    raise ModuleNotFoundError(name)
        sys.meta_path.insert(0, Bare())
        sys.argv = ["train_step.py", "--pairs=2", "--torch", "none", *{TOY!r}]
        runpy.run_path({str(ROOT / "benchmarks" / "train_step.py")!r}, run_name="__main__")
    """
    said = run("-c", textwrap.dedent(program))
    assert "GFLOP a step" in said
    assert "effnet_jax" in said


@pytest.mark.slow
def test_the_pytorch_side_of_step_and_evaluation():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    said = run("benchmarks/train_step.py", "--pairs=2", "--torch", "eager", "autocast", *TOY)
    assert "ratio, PyTorch eager over ours" in said
    assert "ratio, PyTorch autocast over ours" in said
    assert "ratio, PyTorch eager" in run("benchmarks/evaluation.py", "--sketches=5", "--photos=3", "--batch=4", *TOY)


@pytest.mark.slow
def test_evaluation_and_start_up():
    said = run("benchmarks/evaluation.py", "--sketches=5", "--photos=3", "--batch=4", "--torch", "none", *TOY)
    assert "floor" in said
    assert "ratio, no cache over filled cache" in run("benchmarks/startup.py", "--pairs=2", *TOY)


def test_the_table_names_what_does_not_run():
    said = run("benchmarks/gpu_table.py", "--backbone=vit_tiny", *TOY, "--pairs", "2", "--dtype=float32", "--torch",
               "none", "--attention", "auto", "cudnn", "--epochs=0")  # fmt: skip
    lines = said.splitlines()
    assert lines[2].startswith("| 2 | effnet_jax float32, attention auto |")
    assert "did not run" in lines[3]
