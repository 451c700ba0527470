"""What a short loan of a GPU has to show: is it right, how fast is it, and what does a recipe take.

    bash benchmarks/gpu_plan.sh FOLDER OUT            on a machine without network; see there
    python benchmarks/gpu_plan.py --out OUT           where everything is installed: the table alone
    python benchmarks/gpu_plan.py --out OUT --toy     the same at toy size, which shows that it works and nothing else

All programs get ready side by side, compile for the device one after the other, and are then timed one after the other,
nothing else running. Each row is printed and written into OUT/table.md as soon as it is known, with OUT/logs beside it.
A row that does not run is named with its reason. With --weights and --chairs, a second part trains the paper's recipe
on QMUL-Chair-V1 with ViT-Ti and evaluates it.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from turns import READY

HERE = Path(__file__).parent
ATTENTION = ("xla", "cudnn", "merged")
TORCH = ("eager", "autocast", "compiled autocast")
GET_READY_S, TURN_S = 240, 60  # seconds until a program is given up


@dataclass
class Program:
    """One benchmark in a process of its own."""

    name: str
    command: list[str]
    log: Path
    lines: list[str] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)
    process: Any = None

    def start(self, environment: dict[str, str]) -> None:
        """Start it; a thread reads what it says."""
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            text=True, env=environment)  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            if line.strip() == READY:
                self.ready.set()
            else:
                self.lines.append(line.rstrip())
        self.process.wait()
        self.ready.set()
        self.done.set()

    def turn(self) -> Any:
        """Let it measure; gives what it found, or as a string why it found nothing."""
        if not self.ready.is_set():
            return self._given_up(f"not ready after {GET_READY_S} s")
        if not self.done.is_set():
            self.process.stdin.write("go\n")
            self.process.stdin.flush()
            if not self.done.wait(TURN_S):
                return self._given_up(f"not done after {TURN_S} s")
        if self.process.returncode:
            said = self.log.read_text(errors="replace").strip().splitlines() or ["no message"]
            return next((line for line in said if "out of memory" in line.lower()), said[-1])[:200]
        return json.loads(self.lines[-1])

    def _given_up(self, why: str) -> str:
        self.process.kill()
        return why


class Table:
    """Rows, printed and written as soon as they are known."""

    def __init__(self, path: Path):
        self._path = path
        path.write_text("")

    def line(self, text: str) -> None:
        """Add one line."""
        print(text, flush=True)
        with self._path.open("a") as file:
            file.write(text + "\n")

    def rows(self, *rows: Iterable[str]) -> None:
        """Add rows of cells."""
        for row in rows:
            self.line("| " + " | ".join(row) + " |")

    def head(self, title: str, *cells: str) -> None:
        """Begin a table."""
        self.line(f"\n{title}\n")
        self.rows(cells, ["---"] * len(cells))


def show_parity(table: Table, found: Any) -> None:
    """Write how far loss and gradient lie from the CPU's."""
    table.head(
        "Loss and gradient beside the CPU's in float32", "attention", "numbers", "loss off by", "gradient off by"
    )
    if isinstance(found, str):
        return table.rows(("all", "did not run", found, ""))
    for row in found["rows"]:
        figures = (row["problem"], "") if "problem" in row else (f"{row['loss']:.1e}", f"{row['gradient']:.1e}")
        table.rows((row["attention"], f"{row['dtype']}, precision {row['precision']}", *figures))
    return None


def step_row(pairs: int, name: str, found: Any, best: float | None) -> tuple[tuple[str, ...], float | None]:
    """Make the row of a training step; gives its pairs/s too."""
    if isinstance(found, str):
        return (str(pairs), name, f"did not run: {found}", *[""] * 5), None
    (median,) = found["median_s"].values()
    rate, speed = found["flops"] / median, pairs / median
    mfu = f"{100 * rate / found['peak']:.1f} %" if found["peak"] else "peak not known"
    share = f"{100 * rate / found['product']:.1f} %" if found["product"] else ""
    memory = f"{found['device_mb'] / 1024:.1f}" if found["device_mb"] else ""
    ratio = f"{speed / best:.2f}" if best else ""
    return (str(pairs), name, f"{1e3 * median:.1f}", f"{speed:.1f}", mfu, share, memory, ratio), speed


def programs(given: argparse.Namespace, logs: Path) -> dict[str, Program]:
    """Name every program of the first part, in the order of their turns."""
    size = [f"--backbone={given.backbone}", f"--size={given.size}", f"--depth={given.depth}"]
    few = [f"--rounds={given.rounds}", "--json"]

    def program(name: str, script: str, *flags: str) -> Program:
        log = logs / f"{name.replace(' ', '_')}.txt"
        return Program(name, [sys.executable, str(HERE / script), *flags], log)

    parity = ["--size=32", "--depth=1"] if given.toy else [f"--weights={given.weights}"]
    made = [program("parity", "step_parity.py", "--json", *parity)]
    for pairs in given.pairs:
        for variant in given.torch:
            flags = (*size, *few, f"--pairs={pairs}", "--without_ours", "--torch", variant)
            made.append(program(f"{pairs} PyTorch {variant}", "train_step.py", *flags))
        for attention in given.attention:
            flags = (*size, *few, f"--pairs={pairs}", f"--dtype={given.dtype}", f"--attention={attention}")
            made.append(program(f"{pairs} effnet_jax {attention}", "train_step.py", *flags, "--torch", "none"))
    made.append(program("trsm", "pair_scoring.py", *few, *given.scored))
    made.append(program("ranking", "ranking.py", "--json", *given.ranked, *["--torch"] * bool(given.torch)))
    torch = ("--torch", *(given.torch[-1:] or ["none"]))
    made.append(program("embedding", "evaluation.py", *size, *few, f"--dtype={given.dtype}", *given.embedded, *torch))
    return {one.name: one for one in made}


def measure(given: argparse.Namespace, table: Table) -> None:
    """Part one: correctness, the training step, and what retrieval needs."""
    logs = given.out / "logs"
    with tempfile.TemporaryDirectory() as scratch:
        path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
        environment = {
            **os.environ,
            "PYTHONPATH": path,
            "BENCHMARK_LOCK": f"{scratch}/lock",
            "JAX_COMPILATION_CACHE_DIR": f"{scratch}/xla",  # what was found fastest for a product serves all programs
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95",
            "JAX_TRACEBACK_FILTERING": "off",  # else the last line of a complaint speaks of filtering
        }
        started = time.monotonic()
        running = programs(given, logs)
        for one in running.values():
            one.start(environment)
        try:
            for one in running.values():
                one.ready.wait(max(0.0, started + GET_READY_S - time.monotonic()))
            table.line(f"\n{len(running)} programs ready after {time.monotonic() - started:.0f} s")
            take_turns(given, table, running)
        finally:
            for one in running.values():
                one.process.kill()


def take_turns(given: argparse.Namespace, table: Table, running: dict[str, Program]) -> None:
    """Time the programs one after the other, and write their rows."""
    show_parity(table, running["parity"].turn())
    heads = ("pairs", "side", "median ms", "pairs/s", "MFU", "of the matrix product", "GB", "ours to the best PyTorch")
    table.head(f"One training step, {given.backbone} at {given.size}", *heads)
    for pairs in given.pairs:
        speeds = []
        for variant in given.torch:
            name = f"PyTorch {variant}"
            row, speed = step_row(pairs, name, running[f"{pairs} {name}"].turn(), None)
            table.rows(row)
            speeds += [speed] if speed else []
        for attention in given.attention:
            found = running[f"{pairs} effnet_jax {attention}"].turn()
            name = f"effnet_jax, {given.dtype}, attention {attention}"
            table.rows(step_row(pairs, name, found, max(speeds, default=None))[0])
    table.head("Retrieval", "what", "figure")
    for name in ("trsm", "ranking", "embedding"):
        found = running[name].turn()
        table.rows(*([(name, f"did not run: {found}")] if isinstance(found, str) else found))


def accuracy(found: dict[str, Any]) -> str:
    """Write an accuracy and its interval in percent."""
    low, high = found["interval_95"]
    return f"{100 * found['value']:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def train_recipe(given: argparse.Namespace, table: Table) -> None:
    """Part two: the paper's recipe on QMUL-Chair-V1 with ViT-Ti, its time, its accuracy and the device's idle share."""
    workdir = given.out / "chairs"
    traced = given.recipe_steps
    command = [
        sys.executable, str(HERE.parent / "main.py"), f"--config={HERE.parent / 'configs' / 'chair_v1.py'}",
        f"--workdir={workdir}", f"--config.data.dir={given.chairs}", "--config.model.backbone=vit_tiny",
        f"--config.model.weights={given.weights}", f"--config.train.epochs={given.epochs}",
        f"--config.train.eval_every_epochs={max(given.epochs / 10, 0.1)}",
        f"--config.data.tfds_dir={given.out / 'tfds'}", f"--config.log.profile_steps=({traced[0]},{traced[1]})",
    ]  # fmt: skip
    started = time.monotonic()
    with (given.out / "logs" / "recipe.txt").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - started
    table.head("The paper's recipe on QMUL-Chair-V1, ViT-Ti", "what", "figure")
    if done.returncode:
        return table.rows(("recipe", f"failed with status {done.returncode}; see {given.out / 'logs' / 'recipe.txt'}"))
    table.rows((f"{given.epochs:g} epochs of 200 pairs, evaluation and report included", f"{seconds:.1f} s"))
    for result in json.loads((workdir / "metrics.json").read_text())["results"]:
        what = f"{result['selection']} checkpoint, {result['queries']} sketches, gallery of {result['gallery']} photos"
        table.rows(
            (what, ", ".join(f"{name} {accuracy(result[name])}" for name in ("acc@1", "acc@5", "acc@10", "mrr")))
        )
    idle = [sys.executable, str(HERE / "device_idle.py"), str(workdir / "profile")]
    said = subprocess.run(idle, capture_output=True, text=True, check=False)
    return table.rows(
        (f"device, steps {traced[0]} to {traced[1]}", (said.stdout or said.stderr).strip().splitlines()[-1])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the table and the logs")
    parser.add_argument("--backbone", default="vit_base")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--depth", type=int, default=0, help="blocks; 0 = the backbone's")
    parser.add_argument("--pairs", type=int, nargs="*", default=[16, 256])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"])
    parser.add_argument("--attention", nargs="*", default=list(ATTENTION))
    parser.add_argument("--torch", nargs="*", default=list(TORCH), help="PyTorch variants; none given: not PyTorch")
    parser.add_argument("--weights", default="", help="ViT-Ti's ImageNet weights, for parity and the recipe")
    parser.add_argument("--chairs", default="", help="folder of QMUL-Chair-V1, for the recipe")
    parser.add_argument("--epochs", type=float, default=500.0, help="of the recipe")
    parser.add_argument("--only", choices=["table", "recipe"], help="one part alone")
    parser.add_argument("--toy", action="store_true", help="everything small: a rehearsal")
    given = parser.parse_args()
    given.scored, given.ranked, given.recipe_steps = [], [], (2000, 2020)
    given.embedded = ["--sketches=2048", "--photos=2048", "--batch=256"]
    if given.torch and not importlib.util.find_spec("torch"):
        print("torch is not installed, so PyTorch is left out")
        given.torch = []
    if given.toy:
        given.size, given.depth, given.pairs, given.rounds, given.epochs = 32, 1, [2], 1, 0.5
        given.scored = ["--sketches=3", "--photos=2", "--width=32", "--heads=4", "--embedding=8"]
        given.ranked = ["--queries=5", "--gallery=20", "--width=8", "--repeats=1"]
        given.embedded, given.recipe_steps = ["--sketches=5", "--photos=3", "--batch=4"], (2, 4)
        given.backbone = "vit_tiny"
    (given.out / "logs").mkdir(parents=True, exist_ok=True)
    table = Table(given.out / "table.md")
    if given.only != "recipe":
        measure(given, table)
    if given.only != "table" and given.weights and given.chairs:
        train_recipe(given, table)
    print(f"\nwritten to {given.out / 'table.md'}")


if __name__ == "__main__":
    main()
