"""Every benchmark of training and retrieval runs at toy size; the step benchmark needs the array libraries only."""

import importlib
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tiny import write_pairs, write_photos

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
def test_the_pytorch_sides():
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    said = run("benchmarks/train_step.py", "--pairs=2", "--torch", "eager", "autocast", *TOY)
    assert "ratio, PyTorch eager over effnet_jax" in said
    assert "ratio, PyTorch autocast over effnet_jax" in said
    assert "ratio, PyTorch eager" in run("benchmarks/evaluation.py", "--sketches=5", "--photos=3", "--batch=4", *TOY)
    toy = ("--queries=50", "--gallery=20", "--width=8", "--repeats=1")
    assert "PyTorch, ranks and the first ten" in run("benchmarks/ranking.py", *toy, "--torch")
    assert "PyTorch eager" in run("benchmarks/startup.py", "--pairs=2", *TOY, "--torch", "eager")


def test_every_row_of_the_ablation_can_be_trained():
    program = """
        from argparse import Namespace
        from pathlib import Path
        from ablation import FIRST, ROWS, SETS, changed, recipe
        from effnet_jax.config_reader import from_mapping
        paths = Namespace(weights="none", out=Path("out"), toy=False)
        for row in ROWS.values():
            for name, changes in (*((name, row.changes) for name in SETS.values()), (FIRST, row.before or {})):
                places = {"data.dir": "here", "data.unpaired_photos": "there"}
                from_mapping(changed(recipe(name, paths), places | changes))
        print(len(ROWS), "rows")
    """
    assert int(run("-c", textwrap.dedent(program)).split()[0]) > 10


@pytest.mark.slow
def test_the_ablation_trains_what_is_missing_and_ranks_its_rows(tmp_path):
    chairs, shoes = (
        write_pairs(tmp_path / name, range(i, i + 88), range(300, 304)) for i, name in ((0, "c"), (90, "s"))
    )
    write_photos(tmp_path / "photos", range(200, 250))
    places = (f"--chairs={chairs}", f"--shoes={shoes}", f"--photos={tmp_path / 'photos'}", "--weights=none")
    command = ("benchmarks/ablation.py", *places, f"--out={tmp_path / 'out'}", "--toy", "--only")
    assert "| without photos alone |" in run(*command, "without photos alone")
    newest = max(path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("config.json"))
    run(*command, "without photos alone", "compared by the cosine")
    assert newest == max(path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("config.json"))
    table = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert table[0].startswith("| | chairs (31 sketches, 22 photos): Acc@1 | MRR | minus the recipe's | shoes (")
    sums = [sum(float(line.split(" | ")[i]) for i in (2, 5)) for line in table[2:]]
    assert len(sums) == 3 and sums == sorted(sums, reverse=True)


@pytest.mark.slow
def test_evaluation_and_start_up():
    said = run("benchmarks/evaluation.py", "--sketches=5", "--photos=3", "--batch=4", "--torch", "none", *TOY)
    assert "floor" in said
    assert "ratio, no cache over filled cache" in run("benchmarks/startup.py", "--pairs=2", *TOY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("ranking.py --queries=5 --gallery=20 --width=8 --repeats=1", "ranks and the first ten"),
        ("pair_scoring.py --sketches=3 --photos=2 --width=32 --heads=4 --embedding=8 --rounds=1", "extrapolated"),
        ("trsm_step.py --backbone=vit_tiny --pairs=2 --size=32 --rounds=1", "whole step over forward passes"),
        ("house.py --rev . .", "change in files"),
        ("input_pipeline.py --pairs=32 --rounds=1", "over the fastest plain loader"),
    ],
)
def test_the_others(command, says):
    name, *flags = command.split()
    assert says in run(f"benchmarks/{name}", *flags)


@pytest.mark.slow
def test_the_plan_for_a_gpu_rehearsed(tmp_path):
    run("benchmarks/gpu_plan.py", "--out", str(tmp_path), "--toy", "--torch", "--attention", "xla", "cudnn")
    table = (tmp_path / "table.md").read_text()
    assert "| xla | float32, precision highest | 0.0e+00 |" in table
    assert "| 2 | effnet_jax, bfloat16, attention xla |" in table
    assert (
        "| 2 | effnet_jax, bfloat16, attention cudnn | did not run: ValueError: model.attention=cudnn cannot" in table
    )
    assert "| ranks and the first ten, 5 x 20 x 8 |" in table
    assert "| embed and rank, effnet_jax |" in table


def test_the_plan_says_at_once_what_its_folder_lacks(tmp_path):
    command = ["bash", str(ROOT / "benchmarks" / "gpu_plan.sh"), str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "lacks qmul_chair_v1/trainA" in done.stderr


def test_the_share_of_time_in_which_nothing_runs():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        idle_share = importlib.import_module("device_idle").idle_share
    finally:
        sys.path.pop(0)
    assert idle_share([(0, 2), (1, 3), (9, 10)]) == pytest.approx(0.6)
    assert idle_share([(5, 6), (0, 10), (2, 3)]) == 0
