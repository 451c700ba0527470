"""Acc@K over K with the bands of its 95 % intervals, of one system or of several, as PNG and SVG."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from effnet_jax.presentation.plot_style import DASHES, GREY, MARKERS, SERIES, new_plot, plot_files

TICKS = (1, 5, 10, 15, 20, 30, 40, 50)


def draw_accuracy_curves(
    stem: str | os.PathLike[str],
    curves: Mapping[str, Float[np.ndarray, "3 k"]],
    *,
    chance_of: int | None = None,
    subtitle: str = "",
) -> list[Path]:
    """Draw curves from K = 1 on.

    Args:
        stem: path without extension.
        curves: by what the legend says: Acc@K and the lower and upper end of its interval, from 0 to 1.
        chance_of: photos in the gallery, for the line of chance; None draws none, which leaves the curves more room.
        subtitle: under the title.

    Raises:
        ValueError: more curves than can be told apart.
    """
    if len(curves) > len(SERIES):
        raise ValueError(f"{len(curves)} curves cannot be told apart; draw {len(SERIES)} or fewer.")
    ks = np.arange(1, 1 + next(iter(curves.values())).shape[1])
    ticks = [k for k in TICKS if k <= len(ks)]
    with new_plot(stem, 7.2, 5, "Share of sketches whose photo is among the first K", subtitle) as figure:
        axes = figure.subplots()
        for (name, curve), colour, dashes, marker in zip(curves.items(), SERIES, DASHES, MARKERS, strict=False):
            value, *ends = 100 * curve
            axes.fill_between(ks, *ends, color=colour, alpha=0.12, linewidth=0)
            for end in ends:
                axes.plot(ks, end, color=colour, linestyle=dashes, linewidth=0.7, alpha=0.6)
            axes.plot(ks, value, color=colour, linestyle=dashes, marker=marker, markersize=5,
                      markevery=[k - 1 for k in ticks], linewidth=1.7, label=name)  # fmt: skip
        if chance_of is None:
            axes.legend(loc="lower right", frameon=True, framealpha=0.9, handlelength=3.2)
        else:  # which runs where the legend would stand
            axes.plot(ks, 100 * ks / chance_of, color=GREY, linestyle=":", linewidth=1.2, label="chance")
            axes.set_ylim(bottom=0)
            figure.legend(loc="outside lower left", handlelength=3.2, labelspacing=0.7)
        axes.set(xlabel="K", ylabel="Acc@K, %", xlim=(1 - 0.02 * len(ks), 1.02 * len(ks)))
        axes.set_ylim(top=min(axes.get_ylim()[1], 101))
        axes.set_xticks(ticks)
    return plot_files(stem)
