"""The real command as tests start it: a tiny configuration as flags, one process or several over loopback."""

import csv
import functools
import json
import os
import runpy
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from tiny import MODEL

ROOT = Path(__file__).parent.parent


def settings_of(data: Path, home: Path, **changes) -> dict:
    """What a run that takes seconds differs in from configs/folder.py; `changes` by name with __ for dots."""
    return {
        "data.dir": data, "data.tfds_dir": home / "tfds", "data.cache_dir": home / "cache", "data.validation_share": 0,
        "model.backbone": MODEL.backbone, "model.weights": "none", "model.image_size": 32, "model.width": 32,
        "model.depth": 1, "model.heads": 2, "model.embedding_size": 16, "optim.learning_rate": 0.001,
        # pictures that differ from the start, and a large eps, keep rounding from being magnified
        "data.mean": (0.8, 0.8, 0.8), "data.std": (0.1, 0.1, 0.1), "optim.eps": 0.001,
        "train.batch_size": 8, "train.log_every_steps": 1, "train.eval_every_epochs": 100, "eval.grid_rows": 0,
        # the paper's four terms and views, and nothing that takes longer to compile
        "augment.sketch_views": ("a0", "a1"), "augment.photo_views": ("a0", "a1"), "augment.max_angle": 30.0,
        "augment.mirror": 0.8, "loss.intra_sketch": 1.0, "loss.intra_photo": 1.0, "loss.late": 0.0,
        "eval.protocols": ("encoder",), "log.tensorboard": False, "log.progress": False,
    } | {name.replace("__", "."): value for name, value in changes.items()}  # fmt: skip


def run_program(program: str, *arguments: str, devices: int = 1) -> str:
    """Run a program in its own process, with as many fake devices, and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env=environment_of(devices),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def environment_of(devices: int) -> dict[str, str]:
    """The environment of a program that is to see so many devices, which all are the CPU."""
    return {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}


def train_here(workdir: Path, settings: dict) -> None:
    """Run the same configuration in this process."""
    from effnet_jax import run

    config = runpy.run_path(str(ROOT / "configs" / "folder.py"))["get_config"]()
    for name, value in settings.items():
        *sections, field = name.split(".")
        section = functools.reduce(getattr, sections, config)
        section[field] = str(value) if isinstance(value, Path) else type(section[field])(value)
    run.train(config, workdir)


def start(
    workdir: Path, settings: dict, flags: Sequence[str] = (), *, devices: int = 1, limit: int = 0
) -> subprocess.Popen:
    """Start main.py; `limit` is the largest file that it may write, bytes, 0 for any."""
    flags = [*(f"--config.{name}={value}" for name, value in settings.items()), *flags]
    program = [sys.executable, "main.py", "--config=configs/folder.py", f"--workdir={workdir}", *flags]
    if limit:
        program = ["prlimit", f"--fsize={limit}", *program]
    return subprocess.Popen(
        program, cwd=ROOT, env=environment_of(devices), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def start_hosts(
    workdir: Path, settings: dict, *, hosts: int = 2, devices: int = 1, last: dict | None = None
) -> list[subprocess.Popen]:
    """Start several processes that are one run; `last` are settings of the last one only."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    joined = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={hosts}"]
    each = [settings] * (hosts - 1) + [settings | (last or {})]
    return [start(workdir, each[i], [*joined, f"--process_id={i}"], devices=devices) for i in range(hosts)]


def finish(*processes: subprocess.Popen, seconds: int = 240) -> list[tuple[int, str, str]]:
    """Wait for all: status, standard output and error of each. What still runs then is killed."""
    try:
        said = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]


def wait_for_step(workdir: Path, step: int, *processes: subprocess.Popen, seconds: int = 240) -> None:
    """Wait until the first process has logged a step."""
    end = time.monotonic() + seconds
    while not (logged := losses(workdir)) or max(logged) < step:
        assert time.monotonic() < end and all(p.poll() is None for p in processes), [p.poll() for p in processes]
        time.sleep(0.01)


def losses(workdir: Path) -> dict[int, float]:
    """The logged loss of each step."""
    try:
        lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    except FileNotFoundError:
        return {}
    parsed = [json.loads(line) for line in lines if line.endswith("\n")]
    return {line["step"]: line["train/loss"] for line in parsed if "train/loss" in line}


def ranks(workdir: Path, folder: str = "last") -> list[tuple[str, ...]]:
    """Each test sketch with its rank in the report."""
    with (workdir / folder / "ranks.csv").open() as file:
        return [(row["sketch_id"], row["rank"]) for row in csv.DictReader(file)]


def saved_steps(workdir: Path) -> list[int]:
    """The steps of the checkpoints, in order."""
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("[0-9]*") if p.name.isdigit())
