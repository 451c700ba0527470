"""t-SNE of sketch and photo embeddings: each pair joined by a line, some pictures pinned to their points.

Source: the paper's t-SNE figure; the lines, which show how far apart a pair lies, are ours.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8
from PIL import Image

from effnet_jax.figures.grid import Pictures
from effnet_jax.presentation.plot_style import GREY, PHOTO, SKETCH, framed, new_plot, plot_files
from effnet_jax.retrieval.scores import unit_rows

WIDTH, HEIGHT = 9.6, 9.8  # inches
TILE, MARGIN, TOP, BOTTOM = 0.82, 1.05, 0.85, 0.5  # a pinned picture; around the plane; heading; legend


def embed_in_the_plane(
    sketches: Float32[np.ndarray, "s z"], photos: Float32[np.ndarray, "g z"], *, seed: int = 0
) -> tuple[Float[np.ndarray, "s 2"], Float[np.ndarray, "g 2"]]:
    """Lay sketches and photos out together by t-SNE on their cosine distances, deterministic for a seed.

    Args:
        sketches: embeddings.
        photos: embeddings.
        seed: of scikit-learn's random numbers.

    Raises:
        ValueError: fewer than four points.
    """
    from sklearn.manifold import TSNE

    points = unit_rows(np.concatenate([sketches, photos]).astype(np.float64))  # so that Euclidean orders as cosine does
    if len(points) < 4:
        raise ValueError(f"t-SNE needs four points or more, got {len(points)}.")
    perplexity = min(30.0, (len(points) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed).fit_transform(points)
    return plane[: len(sketches)], plane[len(sketches) :]


def draw_tsne(
    stem: str | os.PathLike[str],
    sketches: Float[np.ndarray, "s 2"],
    photos: Float[np.ndarray, "g 2"],
    photo_index: Int[np.ndarray, " s"],
    pictures: Pictures | None = None,
    *,
    subtitle: str = "",
) -> list[Path]:
    """Draw the plane.

    Args:
        stem: path without extension.
        sketches: points of the sketches.
        photos: points of the photos.
        photo_index: row of each sketch's photo.
        pictures: a split in the same order, for the pinned pictures; None pins none.
        subtitle: under the title.
    """
    note = "t-SNE keeps neighbours together; distances between groups, and the axes, mean nothing."
    note = f"{subtitle}. {note}" if subtitle else note
    with new_plot(stem, WIDTH, HEIGHT, "Sketches and photos in the plane", note, arrange=False) as figure:
        inner = (
            MARGIN / WIDTH,
            (BOTTOM + TILE) / HEIGHT,
            1 - 2 * MARGIN / WIDTH,
            1 - (BOTTOM + TOP + 2 * TILE) / HEIGHT,
        )
        axis = figure.add_axes(inner if pictures is not None else (0.03, 0.07, 0.94, 0.8))
        for i, j in enumerate(photo_index.tolist()):
            axis.plot(*zip(sketches[i], photos[j], strict=True), color=GREY, linewidth=0.7, alpha=0.45, zorder=1)
        axis.scatter(*photos.T, s=26, marker="s", color=PHOTO, alpha=0.9, linewidths=0, zorder=3, label="photo")
        axis.scatter(*sketches.T, s=20, marker="o", color=SKETCH, alpha=0.85, linewidths=0, zorder=2, label="sketch")
        axis.plot([], [], color=GREY, linewidth=1, label="sketch and its photo")
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.margins(0.03)
        if pictures is not None:
            _pin(figure, axis, photos, photo_index, pictures)
        figure.legend(*axis.get_legend_handles_labels(), loc="lower center", ncols=3)
    return plot_files(stem)


def _pin(
    figure: Any, axis: Any, photos: Float[np.ndarray, "g 2"], photo_index: Int[np.ndarray, " s"], pictures: Pictures
) -> None:
    """Pin photos with their first sketch around the plane, where they hide no point, by the shortest lines."""
    from matplotlib.patches import ConnectionPatch
    from scipy.optimize import linear_sum_assignment

    first: dict[int, int] = {}
    for i, j in enumerate(photo_index.tolist()):
        first.setdefault(j, i)
    candidates = list(first)
    slots = _slots()
    where = figure.transFigure.inverted().transform(axis.transData.transform(photos[candidates]))
    where = where * (WIDTH, HEIGHT)  # inches
    ends = np.array([(x + TILE if side == "left" else x if side == "right" else x + TILE,
                      y + TILE / 2 if side in ("left", "right") else y if side == "top" else y + TILE)
                     for x, y, side in slots])  # fmt: skip
    distance = np.linalg.norm(ends[:, None] - where[None], axis=2)
    for slot, candidate in zip(*linear_sum_assignment(distance), strict=True):
        x, y, side = slots[slot]
        j = candidates[candidate]
        stacked = side in ("left", "right")  # sketch above photo at the sides, beside it above and below
        for place, picture in enumerate((pictures.sketch(first[j]), pictures.photo(j))):
            dx, dy = (0, -place * TILE) if stacked else (place * TILE, 0)
            spot = (x + dx) / WIDTH, (y + dy) / HEIGHT, TILE / WIDTH, TILE / HEIGHT
            framed(figure, spot, _tile(picture))
        start = (ends[slot][0] / WIDTH, (ends[slot][1] - (TILE / 2 if stacked else 0)) / HEIGHT)
        line = ConnectionPatch(start, photos[j], "figure fraction", "data", axesB=axis, color=PHOTO, linewidth=0.8,
                               alpha=0.7, zorder=4)  # fmt: skip
        figure.add_artist(line)
        axis.plot(*photos[j], "s", markersize=7.5, markerfacecolor="none", markeredgecolor=PHOTO, zorder=4)


def _slots() -> list[tuple[float, float, str]]:
    """Lower left corners of the sketch tiles around the plane, in inches, and the side they stand on."""
    slots = []
    high, low = HEIGHT - TOP - TILE, BOTTOM
    for i in range(4):  # two tiles wide
        x = MARGIN + 0.35 + i * (WIDTH - 2 * MARGIN - 0.7 - 2 * TILE) / 3
        slots += [(x, high, "top"), (x, low, "bottom")]
    for i in range(3):  # two tiles high
        y = low + TILE + 0.2 + (i + 0.5) * (high - low - TILE - 0.4) / 3
        slots += [(0.12, y, "left"), (WIDTH - 0.12 - TILE, y, "right")]
    return slots


def _tile(picture: UInt8[np.ndarray, "_ _ 3"], edge: int = 150) -> UInt8[np.ndarray, "_ _ 3"]:
    image = Image.fromarray(picture)
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (edge, edge), "white")
    tile.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    return np.asarray(tile)
