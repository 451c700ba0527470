"""Heat map of similarities: every sketch against every photo, the true pairs on a staircase."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int

from effnet_jax.presentation.plot_style import GREY, VERMILION, new_plot, plot_files
from effnet_jax.retrieval.scores import unit_rows

CIRCLED = 60
"""Sketches up to which the true pairs are circled; in a finer map circles would cover what they mark."""


def similarities(
    sketches: Float32[np.ndarray, "s z"], photos: Float32[np.ndarray, "g z"]
) -> Float32[np.ndarray, "s g"]:
    """Cosine of every sketch with every photo."""
    return (unit_rows(sketches) @ unit_rows(photos).T).astype(np.float32)


def draw_similarities(
    stem: str | os.PathLike[str],
    scores: Float32[np.ndarray, "s g"],
    photo_index: Int[np.ndarray, " s"],
    *,
    most: int = 120,
    seed: int = 0,
    subtitle: str = "",
) -> list[Path]:
    """Draw the similarities, beside the distributions of true and of other pairs.

    The rows are sorted by their photo, so that the true pairs form a staircase from top left to bottom right.

    Args:
        stem: path without extension.
        scores: of every sketch with every photo.
        photo_index: row of each sketch's photo.
        most: photos drawn; where there are more, so many of them, drawn by `seed`, with their sketches.
        seed: of the draw.
        subtitle: under the title.
    """
    photos = np.arange(scores.shape[1])
    if len(photos) > most:
        photos = np.sort(np.random.default_rng(seed).permutation(photos)[:most])
    rows = np.flatnonzero(np.isin(photo_index, photos))
    rows = rows[np.argsort(photo_index[rows], kind="stable")]
    part = scores[np.ix_(rows, photos)]
    true = scores[np.arange(len(photo_index)), photo_index]
    others = scores[np.arange(scores.shape[1]) != photo_index[:, None]]
    circled = len(rows) <= CIRCLED
    title = f"Similarity of sketches and photos ({'circles' if circled else 'diagonal'}: true pairs)"
    with new_plot(stem, 10, 5.6, title, subtitle) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.35, 1))
        image = left.imshow(part, cmap="cividis", aspect="auto", interpolation="nearest")
        places = np.searchsorted(photos, photo_index[rows])
        if circled:
            left.plot(places, np.arange(len(rows)), "o", markersize=420 / max(len(rows), 70), markerfacecolor="none",
                      markeredgecolor="white", markeredgewidth=0.8)  # fmt: skip
        left.grid(False)
        shown = "" if len(photos) == scores.shape[1] else f" ({len(photos)} of {scores.shape[1]}, chosen at random)"
        left.set(title="every sketch with every photo", xlabel=f"photo{shown}", ylabel="sketch, sorted by its photo")
        figure.colorbar(image, ax=left, label="cosine", pad=0.02)
        bins = np.linspace(min(others.min(), true.min()), max(others.max(), true.max()), 41).tolist()
        right.hist(others, bins, density=True, color=GREY, alpha=0.55, label=f"other pairs ({others.size:,})")
        right.hist(true, bins, density=True, histtype="step", linewidth=2.2, color=VERMILION,
                   label=f"true pairs ({true.size:,})")  # fmt: skip
        right.set(title="distribution", xlabel="cosine", ylabel="density")
        right.locator_params(axis="x", nbins=5)
        right.set_ylim(top=1.22 * right.get_ylim()[1])
        right.legend(loc="upper left")
    return plot_files(stem)
