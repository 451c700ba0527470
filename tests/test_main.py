"""The real command, from a folder of files to a report: end to end, killed, resumed, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).parent.parent
STEPS = 30


def draw_pair(seed):
    """A coloured polygon, and its outline."""
    rng = np.random.default_rng(seed)
    corners = [tuple(p) for p in rng.integers(6, 58, (5, 2)).tolist()]
    photo, sketch = Image.new("RGB", (64, 64), "white"), Image.new("L", (64, 64), "white")
    ImageDraw.Draw(photo).polygon(corners, fill=tuple(rng.integers(0, 200, 3).tolist()))
    ImageDraw.Draw(sketch).polygon(corners, outline="black")
    return photo, sketch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    for part, ids in (("train", range(44)), ("test", range(44, 56))):
        for side in "AB":
            (root / f"{part}{side}").mkdir()
        for i in ids:
            photo, sketch = draw_pair(i)
            photo.save(root / f"{part}B" / f"item_{i:03d}.jpg")
            for tag in ("01", "02")[: 1 + i % 2]:
                sketch.save(root / f"{part}A" / f"item_{i:03d}_{tag}.png")
    return root


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def command(folder, home):
    settings = {
        "data.dir": folder, "data.tfds_dir": home / "tfds", "data.cache_dir": home / "cache",
        "model.backbone": "vit_tiny", "model.weights": "none", "model.image_size": 32, "model.width": 24,
        "model.depth": 1, "model.heads": 2, "model.embedding_size": 16, "data.validation_share": 0.46,
        "optim.learning_rate": 0.001, "optim.warmup_steps": 2, "train.batch_size": 8, "train.epochs": 6.5,
        "train.eval_every_epochs": 2.0, "train.checkpoint_every_steps": 3, "train.log_every_steps": 2,
        "train.keep_checkpoints": 3,
    }  # fmt: skip

    def make(workdir, *more):
        flags = [f"--config.{name}={value}" for name, value in settings.items()]
        return [sys.executable, "main.py", "--config=configs/folder.py", f"--workdir={workdir}", *flags, *more]

    return make


def run(arguments, **options):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment, **options
    )  # fmt: skip


@pytest.fixture(scope="module")
def straight(command, home):
    workdir = home / "straight"
    done = run(command(workdir))
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir, done


def final_state(workdir):
    """All arrays of the newest checkpoint."""
    import orbax.checkpoint as ocp

    newest = max((p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name))
    with ocp.StandardCheckpointer() as checkpointer:
        return int(newest.name), jax.tree.leaves_with_path(checkpointer.restore(newest / "state"))


def test_a_run_leaves_everything_a_reader_needs(straight):
    workdir, done = straight
    metrics = json.loads((workdir / "metrics.json").read_text())
    last, *best = [result for result in metrics["results"] if result["protocol"] == "encoder"]
    assert len(metrics["results"]) == 2 * (1 + len(best))  # each by its patches too
    assert (last["queries"], last["gallery"], last["split"]) == (18, 12, "test")
    assert last["selection"].startswith("last")
    assert "best on validation (MRR, 20 photos)" in (best[0] if best else last)["selection"]
    assert len(last["split_sha256"]) == 64
    assert all(last["checkpoint_step"] > other["checkpoint_step"] > 0 for other in best)
    assert 0 <= last["acc@1"]["interval_95"][0] <= last["acc@1"]["value"] <= last["acc@5"]["value"] <= 1
    assert "18 sketches of 12 photos, gallery of 12 photos" in done.stdout
    assert "last" in done.stdout
    for name in ("config.json", "versions.json", "split.json", "metrics.jsonl"):
        assert (workdir / name).stat().st_size > 0
    with Image.open(workdir / "last" / "retrieval.png") as picture:
        assert picture.width == 1200
    assert (workdir / "last" / "ranks.csv").read_text().count("\n") == 1 + 18
    assert any((workdir / "tensorboard").iterdir())
    split = json.loads((workdir / "split.json").read_text())
    assert split["validation"]["photos"] == 20
    assert not set(split["train"]["photo_ids"]) & set(split["validation"]["photo_ids"])


def test_the_test_set_chooses_nothing(straight):
    workdir, _ = straight
    assert "eval/test" not in (workdir / "metrics.jsonl").read_text()


def test_killed_at_any_moment_it_goes_on_to_the_same_parameters_bit_for_bit(straight, command, home):
    workdir = home / "killed"
    for rounds in range(2):
        process = subprocess.Popen(command(workdir), cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_for(lambda enough=3 * rounds: steps_saved(workdir) > enough, process)
        process.kill()
        process.wait()
    done = run(command(workdir))
    assert done.returncode == 0, done.stderr[-3000:]
    (step, wanted), (resumed, got) = final_state(straight[0]), final_state(workdir)
    assert step == resumed
    for (path, a), (_, b) in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=jax.tree_util.keystr(path))
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert steps == [json.loads(x)["step"] for x in (straight[0] / "metrics.jsonl").read_text().splitlines()]


def steps_saved(workdir):
    return max((int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*") if p.name.isdigit()), default=0)


def wait_for(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        if process.poll() is not None:
            return
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_asked_to_stop_it_saves_and_says_so(command, home, number):
    workdir = home / f"stopped-{number}"
    process = subprocess.Popen(
        command(workdir, "--config.train.epochs=5000"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    wait_for(lambda: steps_saved(workdir) > 0, process)
    process.send_signal(number)
    _, words = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "saved; the same command goes on" in words
    assert "Traceback" not in words
    assert f"stopped at step {steps_saved(workdir)} of" in words


def test_evaluate_repeats_the_report_and_takes_embeddings_of_others(straight, command):
    workdir, _ = straight
    before = json.loads((workdir / "metrics.json").read_text())
    done = run(command(workdir, "--mode=evaluate", "--config.eval.batch_size=5", "--config.eval.ks=(1,5,10)"))
    assert done.returncode == 0, done.stderr[-3000:]
    after = json.loads((workdir / "metrics.json").read_text())
    assert [r["acc@1"] for r in after["results"]] == [r["acc@1"] for r in before["results"]]
    other = run([sys.executable, "main.py", f"--embeddings={workdir}/last/embeddings.npz"])
    assert other.returncode == 0, other.stderr[-3000:]
    assert f"{100 * before['results'][0]['acc@1']['value']:.1f} [" in other.stdout


def test_embeddings_of_others_are_measured_as_a_configuration_says(tmp_path):
    embeddings, ids = np.eye(4, dtype=np.float32), np.array(list("abcd"))
    np.savez(tmp_path / "e.npz", sketch_embeddings=embeddings, photo_embeddings=embeddings, sketch_ids=ids,
             photo_ids=ids, sketch_photo_ids=ids)  # fmt: skip
    wanted = ["--config.eval.ks=(1,3)", "--config=configs/folder.py", "--config.eval.photo_to_sketch=True"]
    done = run([sys.executable, "main.py", f"--embeddings={tmp_path}/e.npz", f"--workdir={tmp_path}/out", *wanted])
    assert done.returncode == 0, done.stderr[-3000:]
    (result,) = json.loads((tmp_path / "out" / "metrics.json").read_text())["results"]
    assert {key for key in result if key.startswith("acc@")} == {"acc@1", "acc@3"}
    assert {key for key in result["photo_to_sketch"] if key.startswith("acc@")} == {"acc@1", "acc@3"}


def test_evaluating_too_early_leaves_the_run_as_it_is(straight, command, tmp_path):
    workdir = shutil.copytree(straight[0], tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    before = (workdir / "config.json").read_bytes()
    done = run(command(workdir, "--mode=evaluate", "--config.train.seed=7"))
    assert done.returncode == 1
    assert "has no checkpoint yet; wait for the first" in done.stderr
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        ([], 2, "python main.py --config configs/demo.py"),
        (["--config=configs/demo.py"], 2, "both --config and --workdir are needed"),
        (["--config=configs/none.py", "--workdir=/nowhere/x"], 2, "configs/none.py"),
        (["--config=configs/demo.py", "--workdir=x", "--config.optim.rate=1"], 2, "config.optim has name, learning"),
        (["--config=configs/demo.py", "--workdir=x", "--config.optim.learning_rate=fast"], 2, "fast"),
        (["--config=configs/demo.py", "--workdir=x", "--config.model.backbone=vgg19"], 1, "model.backbone='vgg19'"),
        (["--config=configs/demo.py", "--workdir=/nowhere/x", "--mode=evaluate"], 1, "there is no run in /nowhere/x"),
        (
            [
                "--config=configs/chair_v1.py",
                "--workdir=x",
                "--config.data.dir=/nowhere",
                "--config.data.tfds_dir=/nowhere/tfds",
            ],
            1,
            "/nowhere",
        ),
        (["--embeddings=/nowhere/e.npz"], 1, "/nowhere/e.npz is not there"),
        (["--wrkdir=x"], 2, "workdir"),
        (["--config=configs/demo.py", "--workdir=/proc/none"], 1, "/proc/none"),
        (["--config=configs/folder.py", "--workdir=x", "--config.train.seed=-1"], 1, "train.seed=-1 must not be"),
    ],
)
def test_mistakes_get_a_sentence(flags, status, words, tmp_path):
    flags = [f.replace("--workdir=x", f"--workdir={tmp_path / 'run'}") for f in flags]
    done = run([sys.executable, "main.py", *flags])
    assert done.returncode == status, done.stderr
    said = done.stdout + done.stderr
    assert words in said
    assert "Traceback" not in done.stderr


def test_another_configuration_in_the_same_folder_is_refused(straight, command):
    done = run(command(straight[0], "--config.train.seed=7"))
    assert done.returncode == 1
    assert "train.seed: 0 there, 7 now" in done.stderr


def test_help_lists_the_commands():
    done = run([sys.executable, "main.py", "--help"])
    assert done.returncode == 0
    assert "configs/demo.py" in done.stdout
    assert "--workdir" in done.stdout
