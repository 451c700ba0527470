"""Acc@K curves of several runs with their bands, as PNG and SVG."""

import os
from pathlib import Path

import numpy as np

from effnet_jax.analysis.compare import Comparison
from effnet_jax.analysis.compare_table import title
from effnet_jax.analysis.grid import GREY, INK, LINE
from effnet_jax.files import replacing

# Okabe and Ito's colours without yellow; with a dash and a marker each, so that none rests on colour alone.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 3)), (0, (1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SHOWN = 20
"""The largest K that is drawn, where the gallery reaches that far."""


def draw_curves(
    comparison: Comparison, paths: list[str | os.PathLike[str]], *, largest_k: int = SHOWN, dpi: int = 150
) -> None:
    """Draw Acc@K over K, one curve a row with its 95 % band; each file appears whole or not at all.

    Args:
        comparison: up to seven rows.
        paths: files to write; .png and .svg by their extension.
        largest_k: end of the axis; the gallery where that is smaller.
        dpi: of a PNG of 7.2 x 4.6 inches.

    Raises:
        ValueError: more rows than can be told apart, or an extension that is neither.
    """
    if len(comparison.rows) > len(COLOURS):
        raise ValueError(f"{len(comparison.rows)} curves cannot be told apart; compare {len(COLOURS)} rows or fewer.")
    wrong = [str(path) for path in paths if Path(path).suffix not in (".png", ".svg")]
    if wrong:
        raise ValueError(f"Curves are written as .png or .svg, not {', '.join(wrong)}.")
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=dpi, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    _draw(figure.add_subplot(), comparison, min(largest_k, comparison.asked.gallery))
    for path in paths:
        suffix = Path(path).suffix[1:]
        metadata = {"Date": None} if suffix == "svg" else {"Software": None}
        with replacing(path) as temporary, rc_context({"svg.hashsalt": "effnet_jax"}):
            figure.savefig(temporary, format=suffix, metadata=metadata)


def _draw(axes, comparison: Comparison, largest_k: int) -> None:
    ks = np.arange(1, largest_k + 1)
    for index, row in enumerate(comparison.rows):
        measures = [row.measure(f"acc@{k}") for k in ks]
        value, low, high = (100 * np.array([getattr(m, end) for m in measures]) for end in ("value", "low", "high"))
        seeds = f" ({len(row.runs)} seeds)" if len(row.runs) > 1 else ""
        axes.fill_between(ks, low, high, color=COLOURS[index], alpha=0.12, linewidth=0)
        for end in (low, high):
            axes.plot(ks, end, color=COLOURS[index], linestyle=DASHES[index], linewidth=0.7, alpha=0.6)
        axes.plot(
            ks,
            value,
            color=COLOURS[index],
            linestyle=DASHES[index],
            marker=MARKERS[index],
            markersize=4.5,
            linewidth=1.6,
            label=f"{row.name}{seeds}".replace("$", r"\$"),
        )
    axes.set_xlabel("K", color=INK)
    axes.set_ylabel("Acc@K, %", color=INK)
    axes.set_xlim(1 - 0.02 * largest_k, 1.02 * largest_k)
    axes.set_ylim(top=min(axes.get_ylim()[1], 101))
    axes.set_xticks([k for k in (1, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200) if k <= largest_k])
    axes.set_title(f"{title(comparison)}\nbands: 95 %, sketches of one photo kept together", fontsize=9, color=GREY)
    axes.grid(color=LINE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=True, framealpha=0.9, edgecolor=LINE, fontsize=9, handlelength=3.2)
