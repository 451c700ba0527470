"""Where scalars go: the progress bar or console lines, metrics.jsonl and TensorBoard."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from effnet_jax.storage.files import replacing

CONSOLE_SECONDS = 20.0  # between console lines where there is no terminal for a bar


class DivergedError(RuntimeError):
    """The loss is no longer finite; the last checkpoint before it is kept."""


class TrainLog:
    """Collects the scalars of every step without waiting for the device, and writes them at intervals.

    Args:
        lines: path of metrics.jsonl.
        tensorboard: folder of TensorBoard events; None writes none.
        start_step: lines after it, left by a run that was killed after its last checkpoint, are dropped.
        total_steps: length of the run, for the bar.
        batch_size: pairs per step, for pairs/s.
        step_flops: floating-point operations of a step, for TFLOP/s; 0 where they are not counted.
        peak_flops: of all devices together, FLOP/s, for the share of it (MFU); None where it is not known.
        progress: show a bar (on a terminal) or console lines (elsewhere).
        writes: False on all hosts but the first, which only check that the loss is finite.
    """

    def __init__(
        self,
        lines: Path,
        tensorboard: Path | None = None,
        *,
        start_step: int,
        total_steps: int,
        batch_size: int,
        progress: bool,
        writes: bool = True,
        step_flops: float = 0.0,
        peak_flops: float | None = None,
    ):
        progress = progress and writes
        self._writes = writes
        self._pending: list[tuple[int, Mapping[str, jax.Array]]] = []
        self._batch_size = batch_size
        self._step_flops, self._peak = step_flops, peak_flops
        self._mark: tuple[float, int] | None = None  # when the speed counts from
        self._last_line = 0.0
        self._total = total_steps
        if writes:
            _drop_lines_after(lines, start_step)
        self._lines = (lines if writes else Path(os.devnull)).open("a")
        self._tensorboard = _summary_writer(tensorboard, start_step) if tensorboard and writes else None
        self._console = Console(stderr=True, soft_wrap=True)
        self._say = progress
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not (progress and sys.stderr.isatty()),
        )
        self._task = self._bar.add_task("training", total=total_steps, completed=start_step, note="compiling")
        self._bar.start()

    def add(self, step: int, scalars: Mapping[str, jax.Array]) -> None:
        """Take the scalars of a step; they stay on the device until the next flush."""
        if self._mark is None:  # the step is compiled and begun, and the data are decoded
            self._mark = (time.monotonic(), step - 1)
        self._pending.append((step, scalars))

    def flush(self) -> None:
        """Fetch what is pending, check that it is finite, and write the mean over the interval.

        Raises:
            DivergedError: a loss, or the parameters after a step, are NaN or infinite; names the step and the terms.
        """
        if not self._pending or self._mark is None:
            return
        fetched = [(step, _floats(scalars)) for step, scalars in self._pending]
        self._pending = []
        for step, scalars in fetched:
            if not all(math.isfinite(scalars[name]) for name in ("loss", "gradient_norm", "parameter_norm")):
                values = ", ".join(f"{k}={v:g}" for k, v in scalars.items())
                raise DivergedError(
                    f"the run is no longer finite at step {step}: {values}. The last good checkpoint is kept; start "
                    "again in a new --workdir with a lower optim.learning_rate or optim.clip_norm set, or look at the "
                    "batch of that step."
                )
        step = fetched[-1][0]
        mean = {f"train/{k}": float(np.mean([s[k] for _, s in fetched])) for k in fetched[0][1]}
        now = time.monotonic()
        rate = (step - self._mark[1]) / max(now - self._mark[0], 1e-9)  # steps per second
        mean["train/pairs_per_s"] = rate * self._batch_size
        if self._step_flops:
            mean["train/tflops_per_s"] = 1e-12 * rate * self._step_flops
        if self._step_flops and self._peak:
            mean["train/mfu"] = rate * self._step_flops / self._peak
        self._mark = (now, step)
        self.write(step, mean)
        note = f"loss {mean['train/loss']:.4f}  {mean['train/pairs_per_s']:.1f} pairs/s"
        note += f"  MFU {100 * mean['train/mfu']:.0f} %" if "train/mfu" in mean else ""
        self._bar.update(self._task, completed=step, note=note)
        if self._bar.disable and self._say and now - self._last_line > CONSOLE_SECONDS:
            self._last_line = now
            left = (self._total - step) * self._batch_size / mean["train/pairs_per_s"]
            self.say(f"step {step}/{self._total}  {note}  {left:.0f} s left")

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write scalars of one step to metrics.jsonl and TensorBoard."""
        self._lines.write(json.dumps({"step": step, **values}) + "\n")
        self._lines.flush()
        if self._tensorboard is not None:
            for name, value in values.items():
                self._tensorboard.add_scalar(name, value, step)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._writes:
            self._console.print(line, markup=False, highlight=False)

    def skip_time(self, seconds: float) -> None:
        """Leave out time that was spent on evaluation from the next pairs/s."""
        if self._mark is not None:
            self._mark = (self._mark[0] + seconds, self._mark[1])

    def close(self) -> None:
        """Stop the bar and close the files."""
        self._bar.stop()
        self._lines.close()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def __enter__(self) -> "TrainLog":
        """Use the log in a with statement, so that files are closed whatever happens."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close."""
        self.close()


def _floats(scalars: Mapping[str, jax.Array]) -> dict[str, float]:
    """Fetch scalars, the loss first."""
    values = {name: float(value) for name, value in jax.device_get(dict(scalars)).items()}
    return {"loss": values.pop("loss"), **values}


def _summary_writer(folder: Path, start_step: int) -> Any:
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=start_step + 1 if start_step else None)


def _drop_lines_after(path: Path, step: int) -> None:
    """Keep the whole lines up to a step; a killed run may have written more, or half a line."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):  # half a line, or JSON that is no object with a number as its step
            break
    with replacing(path) as temporary:
        temporary.write_text("".join(kept))
