"""Acc@K curves of several runs with their bands, as PNG and SVG."""

import os
from dataclasses import astuple
from pathlib import Path

import numpy as np

from effnet_jax.comparison.comparison import Comparison
from effnet_jax.comparison.tables import title
from effnet_jax.presentation.accuracy_plot import draw_accuracy_curves

LARGEST_K = 20
"""Where the curves end, where the gallery reaches that far."""


def draw_curves(comparison: Comparison, stem: str | os.PathLike[str]) -> list[Path]:
    """Draw Acc@K over K, one curve per row with its 95 % band.

    Args:
        comparison: up to seven rows.
        stem: path without extension.

    Raises:
        ValueError: more rows than can be told apart.
    """
    ks = range(1, min(LARGEST_K, comparison.asked.gallery) + 1)
    curves = {}
    for row in comparison.rows:
        seeds = f" ({len(row.runs)} seeds)" if len(row.runs) > 1 else ""
        curves[row.name + seeds] = np.array([astuple(row.measure(f"acc@{k}")) for k in ks]).T
    bands = "bands: 95 %, sketches of one photo kept together"
    return draw_accuracy_curves(stem, curves, subtitle=f"{title(comparison)}; {bands}")
