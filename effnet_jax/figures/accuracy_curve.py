"""Acc@K against K, with the band of its 95 % interval."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from effnet_jax.presentation.plot_style import GREY, SERIES, heading, new_figure, our_style, save_figure
from effnet_jax.retrieval.intervals import photo_interval
from effnet_jax.retrieval.ranking import Ranking, credit_at_k


def accuracy_curve(
    ranking: Ranking, photos: Int[np.ndarray, " s"], ks: Int[np.ndarray, " k"]
) -> Float[np.ndarray, "3 k"]:
    """Acc@K, and the lower and upper end of its interval, from 0 to 1.

    Args:
        ranking: of every query.
        photos: which photo each query belongs to; its queries stay together.
        ks: values of K, 1 to the gallery.
    """
    points = []
    for k in ks.tolist():
        credits = credit_at_k(ranking.better, ranking.tied, k)
        points.append((credits.mean(), *photo_interval(credits, photos)))
    return np.array(points).T


def draw_accuracy_curve(
    stem: str | os.PathLike[str],
    rankings: Mapping[str, tuple[Ranking, Int[np.ndarray, " s"]]],
    *,
    most: int = 50,
    subtitle: str = "",
) -> list[Path]:
    """Draw the curves of one or more rankings.

    Args:
        stem: path without extension.
        rankings: name -> ranking, and the photo of each of its queries.
        most: largest K drawn; the gallery where it is smaller.
        subtitle: under the title.
    """
    gallery = min(ranking.gallery_size for ranking, _ in rankings.values())
    ks = np.arange(1, min(most, gallery) + 1)
    with our_style():
        figure = new_figure(7.6, 5.4)
        axis = figure.subplots()
        for colour, marker, (name, (ranking, photos)) in zip(
            SERIES * 9, "osD^v<>pX" * 9, rankings.items(), strict=False
        ):
            value, low, high = 100 * accuracy_curve(ranking, photos, ks)
            axis.fill_between(ks, low, high, color=colour, alpha=0.18, linewidth=0)
            few = [i for i in (0, 4, 9) if i < len(ks)]
            numbers = "   ".join(f"Acc@{ks[i]} {value[i]:.1f} [{low[i]:.1f}, {high[i]:.1f}]" for i in few)
            axis.plot(ks, value, color=colour)
            axis.plot(ks[few], value[few], marker, color=colour, markersize=6)
            axis.plot([], [], marker=marker, color=colour, label=f"{name}\n{numbers}")
        axis.plot(ks, 100 * ks / gallery, color=GREY, linestyle=":", linewidth=1.2, label="chance")
        axis.set(xlabel="K", ylabel="Acc@K, %", ylim=(0, 101.5), xlim=(0.5, ks[-1] + 0.5))
        axis.set_xticks(sorted({1, *range(5, ks[-1] + 1, 5)} if ks[-1] > 10 else set(ks.tolist())))
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower left", labelspacing=0.7)
        heading(figure, "Share of sketches whose photo is among the first K", subtitle)
        return save_figure(figure, stem)
