"""Acc@K curves of several runs with their bands, as PNG and SVG."""

import os
from pathlib import Path

import numpy as np

from effnet_jax.comparison.comparison import Comparison
from effnet_jax.comparison.tables import title
from effnet_jax.presentation.plot_style import DASHES, MARKERS, SERIES, heading, new_figure, our_style, save_figure

SHOWN = 20
"""The largest K that is drawn, where the gallery reaches that far."""


def draw_curves(comparison: Comparison, stem: str | os.PathLike[str], *, largest_k: int = SHOWN) -> list[Path]:
    """Draw Acc@K over K, one curve a row with its 95 % band.

    Args:
        comparison: up to seven rows.
        stem: path without extension.
        largest_k: end of the axis; the gallery where that is smaller.

    Raises:
        ValueError: more rows than can be told apart.
    """
    if len(comparison.rows) > len(SERIES):
        raise ValueError(f"{len(comparison.rows)} curves cannot be told apart; compare {len(SERIES)} rows or fewer.")
    largest_k = min(largest_k, comparison.asked.gallery)
    ks = np.arange(1, largest_k + 1)
    with our_style():
        figure = new_figure(7.2, 5)
        axes = figure.subplots()
        for row, colour, dashes, marker in zip(comparison.rows, SERIES, DASHES, MARKERS, strict=False):
            measures = [row.measure(f"acc@{k}") for k in ks]
            value, low, high = (100 * np.array([getattr(m, end) for m in measures]) for end in ("value", "low", "high"))
            seeds = f" ({len(row.runs)} seeds)" if len(row.runs) > 1 else ""
            axes.fill_between(ks, low, high, color=colour, alpha=0.12, linewidth=0)
            for end in (low, high):
                axes.plot(ks, end, color=colour, linestyle=dashes, linewidth=0.7, alpha=0.6)
            axes.plot(ks, value, color=colour, linestyle=dashes, marker=marker, markersize=4.5, linewidth=1.6,
                      label=f"{row.name}{seeds}")  # fmt: skip
        axes.set(xlabel="K", ylabel="Acc@K, %", xlim=(1 - 0.02 * largest_k, 1.02 * largest_k))
        axes.set_ylim(top=min(axes.get_ylim()[1], 101))
        axes.set_xticks([k for k in (1, 5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200) if k <= largest_k])
        axes.legend(loc="lower right", frameon=True, framealpha=0.9, handlelength=3.2)
        bands = "bands: 95 %, sketches of one photo kept together"
        heading(figure, "Share of sketches whose photo is among the first K", f"{title(comparison)}; {bands}")
        return save_figure(figure, stem)
