"""Training curves from metrics.jsonl: the loss and its terms, validation accuracy, and what else was logged."""

import json
import os
from pathlib import Path

import numpy as np

from effnet_jax.presentation.plot_style import DASHES, MARKERS, SERIES, new_plot, plot_files

Series = dict[str, tuple[np.ndarray, np.ndarray]]


def read_scalars(path: str | os.PathLike[str]) -> Series:
    """Read metrics.jsonl: name -> steps and values; a last line that was not written to its end is left out.

    Raises:
        ValueError: there is no such file, no scalar in it, or a damaged line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no {path}: the run has logged nothing.")
    found: dict[str, tuple[list[int], list[float]]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            step = values.pop("step")
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            if number == len(lines):  # the run was killed while it wrote this one
                break
            raise ValueError(f"{path}, line {number} is damaged: {error}") from error
        for name, value in values.items():
            steps, numbers = found.setdefault(name, ([], []))
            steps.append(step)
            numbers.append(value)
    if not found:
        raise ValueError(f"{path} holds no scalars.")
    return {name: (np.array(steps), np.array(values)) for name, (steps, values) in found.items()}


_HELD_OUT = {
    "validation": "accuracy on held-out photos",
    "drawn_validation": "accuracy on held-out photos, drawings",
    "test": "accuracy on the test set",
    "drawn_test": "accuracy on the test set, drawings",
}


def draw_training_curves(stem: str | os.PathLike[str], scalars: Series, *, subtitle: str = "") -> list[Path]:
    """Draw the loss with its terms beside the accuracies on held-out photos, and gradient norm and speed below.

    Args:
        stem: path without extension.
        scalars: what `read_scalars` gives.
        subtitle: under the title.
    """
    constant = {n for n, (_, v) in scalars.items() if n == "train/temperature" and np.ptp(v) < 1e-6}
    train = {n.removeprefix("train/"): s for n, s in scalars.items() if n.startswith("train/") and n not in constant}
    terms = {n: s for n, s in train.items() if n in ("loss", "multi", "inter") or n.startswith("intra")}
    terms = dict(sorted(terms.items(), key=lambda item: item[0] != "loss"))
    measured = {split: {n.removeprefix("eval/"): s for n, s in scalars.items() if n.startswith(f"eval/{split}/")}
                for split in _HELD_OUT}  # fmt: skip
    panels = [("loss and its terms", "", terms)]
    for split, title in _HELD_OUT.items():
        panels += [(title, "%", measured[split])] if measured[split] else []
    names = {"gradient_norm": ("gradient norm", ""), "pairs_per_s": ("speed", "pairs per second"),
             "temperature": ("temperature", "")}  # fmt: skip
    panels += [(*names.get(n, (n, "")), {n: s}) for n, s in train.items() if n not in terms]
    rows = -(-len(panels) // 2)
    with new_plot(stem, 10, 0.9 + 3.1 * rows, "Training", subtitle) as figure:
        axes = np.ravel(figure.subplots(rows, 2, squeeze=False))
        for axis, (title, unit, series) in zip(axes, panels, strict=False):
            for i, (name, (steps, values)) in enumerate(series.items()):
                look = i % len(SERIES)
                every, size = max(1, len(steps) // 6), 4 + 1.2 * (len(series) - 1 - i)  # the one below peeks out
                label = name.removeprefix("drawn_").removeprefix("validation/")
                label = label.replace("mrr", "MRR").replace("acc", "Acc")
                axis.plot(steps, values, color=SERIES[look], linestyle=DASHES[look], label=label, linewidth=1.8,
                          marker=MARKERS[look] if len(series) > 1 else None, markersize=size,
                          markevery=(i * every // len(series), every), zorder=2 + i / 100)  # fmt: skip
            axis.set(title=title, xlabel="step", ylabel=unit, xlim=(0, None))
            axis.set_ylim(bottom=0, top=102 if unit == "%" else None)
            if len(series) > 1:
                axis.legend(ncols=2, handlelength=3.5)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
    return plot_files(stem)
