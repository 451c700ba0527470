"""t-SNE of sketch and photo embeddings: each pair joined by a line, some pictures pinned to their points.

Source: the paper's t-SNE figure; the lines, which show how far apart a pair lies, are ours.
"""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int
from PIL import Image

from effnet_jax.analysis.grid import Pictures
from effnet_jax.analysis.style import GREY, LINE, PHOTO, SKETCH, heading, new_figure, our_style, save_figure


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

    points = np.concatenate([sketches, photos]).astype(np.float64)
    if len(points) < 4:
        raise ValueError(f"t-SNE needs four points or more, got {len(points)}.")
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)  # then Euclidean orders as cosine does
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
    pinned: int = 10,
    subtitle: str = "",
) -> list[Path]:
    """Draw the plane.

    Args:
        stem: path without extension.
        sketches: points of the sketches.
        photos: points of the photos.
        photo_index: row of each sketch's photo.
        pictures: a split in the same order, for the pinned pictures; None pins none.
        pinned: photos, with their first sketch, that are pinned; spread over the plane.
        subtitle: under the title.
    """
    with our_style():
        figure = new_figure(9, 8.6)
        axis = figure.subplots()
        for i, j in enumerate(photo_index.tolist()):
            axis.plot(*zip(sketches[i], photos[j], strict=True), color=GREY, linewidth=0.7, alpha=0.45, zorder=1)
        axis.scatter(*photos.T, s=26, marker="s", color=PHOTO, alpha=0.9, linewidths=0, zorder=3, label="photo")
        axis.scatter(*sketches.T, s=20, marker="o", color=SKETCH, alpha=0.85, linewidths=0, zorder=2, label="sketch")
        axis.plot([], [], color=GREY, linewidth=1, label="sketch and its photo")
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(False)
        if pictures is not None:
            _pin(axis, sketches, photos, photo_index, pictures, pinned)
        axis.margins(0.13)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3)
        note = "t-SNE keeps neighbours together; distances between groups, and the axes, mean nothing."
        heading(figure, "Sketches and photos in the plane", f"{subtitle}. {note}" if subtitle else note)
        return save_figure(figure, stem)


def _pin(axis, sketches, photos, photo_index, pictures, pinned):
    """Pin photos that lie far from each other, with their first sketch, outside of the crowd around them."""
    from matplotlib.offsetbox import AnnotationBbox, HPacker, OffsetImage

    for i, j in enumerate(photo_index.tolist()):
        first.setdefault(j, i)
    centre = photos.mean(axis=0)
    size = np.ptp(np.concatenate([sketches, photos]), axis=0).max()
    placed: list[np.ndarray] = []
    for j in _spread(photos, list(first), pinned):
        away = photos[j] - centre
        spot = photos[j] + 0.1 * size * away / max(np.linalg.norm(away), 1e-9)
        for _ in range(60):  # pinned pictures push each other apart
            near = [p for p in placed if np.abs((spot - p) / (0.2, 0.115)).max() < size]
            if not near:
                break
            push = spot - np.mean(near, axis=0)
            spot = spot + 0.02 * size * push / max(np.linalg.norm(push), 1e-9)
        placed.append(spot)
        tiles = [OffsetImage(_tile(picture), zoom=0.5) for picture in (pictures.sketch(first[j]), pictures.photo(j))]
        box = AnnotationBbox(
            HPacker(children=tiles, pad=1, sep=3), photos[j], xybox=spot, frameon=True, pad=0.15, zorder=5,
            bboxprops={"edgecolor": LINE, "linewidth": 0.8, "boxstyle": "round,pad=0.1"},
            arrowprops={"arrowstyle": "-", "color": PHOTO, "linewidth": 0.9},
        )  # fmt: skip
        axis.add_artist(box)


def _spread(photos, candidates, count):
    """Candidates chosen one by one, each farthest from those chosen before: they show all parts of the plane."""
    chosen = [candidates[int(np.argmin(photos[candidates][:, 0]))]]
    while len(chosen) < min(count, len(candidates)):
        distance = np.linalg.norm(photos[candidates][:, None] - photos[chosen][None], axis=2).min(axis=1)
        chosen.append(candidates[int(np.argmax(distance))])
    return chosen


def _tile(picture, edge=104):
    image = Image.fromarray(picture)
    image.thumbnail((edge, edge), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (edge, edge), "white")
    tile.paste(image, ((edge - image.width) // 2, (edge - image.height) // 2))
    return np.asarray(tile)
