"""Where an encoder looks: attention of the CLS token over a sketch and over its photo."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from effnet_jax.analysis.attention_distance import to_grid
from effnet_jax.analysis.style import GREY, LINE, heading, new_figure, our_style, save_figure

READS = {
    "cls": "attention of the CLS token in the last layer, mean over heads",
    "received": "attention that each patch receives in the last layer, mean over heads and patches (the feature is made "
    "from patch tokens, and the CLS token is not trained)",
}


def patch_attention(maps: Float[np.ndarray, "l b k n n"], pooling: str) -> tuple[Float[np.ndarray, "b i j"], str]:
    """Attention over the patches in the last layer, and what it is, in words.

    Args:
        maps: attention of every layer, CLS first.
        pooling: of the encoder; "cls" reads the row of the CLS token. Where the feature is made from patch tokens, that
            row means nothing, and what each patch receives from all patches is given instead.
    """
    last = np.asarray(maps[-1], np.float32).mean(axis=1)  # (b, n, n)
    rows = last[:, 0, 1:] if pooling == "cls" else last[:, 1:, 1:].mean(axis=1)
    return to_grid(rows), READS["cls" if pooling == "cls" else "received"]


def draw_attention(
    stem: str | os.PathLike[str],
    pairs: Sequence[tuple[str, UInt8[np.ndarray, "_ _ 3"], UInt8[np.ndarray, "_ _ 3"]]],
    sketches: Float[np.ndarray, "p i j"],
    photos: Float[np.ndarray, "p i j"],
    *,
    subtitle: str = "",
) -> list[Path]:
    """Draw pairs: sketch, its attention, photo, its attention.

    Each map is scaled to its own largest value: colours compare places in one picture, not pictures.

    Args:
        stem: path without extension.
        pairs: id, sketch and photo, square as the encoder sees them.
        sketches: attention over the patches of each sketch.
        photos: likewise.
        subtitle: under the title.
    """
    columns = 2 if len(pairs) > 1 else 1
    rows = -(-len(pairs) // columns)
    with our_style():
        figure = new_figure(5.6 * columns, 1.0 + 1.52 * rows)
        grid = figure.add_gridspec(rows, columns, wspace=0.06)
        image = None
        for place, (name, sketch, photo) in enumerate(pairs):
            cell = grid[place // columns, place % columns].subgridspec(1, 4, wspace=0.04)
            pictures = ((sketch, None), (sketch, sketches[place]), (photo, None), (photo, photos[place]))
            for i, (picture, weights) in enumerate(pictures):
                axis = figure.add_subplot(cell[i])
                axis.imshow(picture if weights is None else _faded(picture), interpolation="lanczos")
                if weights is not None:
                    heat = _upsample(weights, picture.shape[0])
                    image = axis.imshow(heat / heat.max(), cmap="inferno_r", alpha=0.62, vmin=0, vmax=1)
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
                for spine in axis.spines.values():
                    spine.set(visible=True, color=LINE)
                if i == 0:
                    axis.set_title(name, fontsize=8.5, color=GREY, fontweight="normal", pad=3)
        if image is not None:
            bar = figure.colorbar(image, ax=figure.axes, location="bottom", shrink=0.3, aspect=40, pad=0.02)
            bar.set_ticks([0, 1], labels=["none", "most in this picture"])
            bar.outline.set_visible(False)
        heading(figure, "Where the encoders look", subtitle)
        return save_figure(figure, stem)


def _upsample(weights: np.ndarray, edge: int) -> np.ndarray:
    image = Image.fromarray(weights.astype(np.float32)).resize((edge, edge), Image.Resampling.BICUBIC)
    return np.maximum(np.asarray(image), 0)


def _faded(picture: np.ndarray) -> np.ndarray:
    """Grey and pale, so that the colours on top are those of the map alone."""
    grey = np.asarray(Image.fromarray(picture).convert("L"), np.float32)
    return np.repeat((0.75 * grey + 64)[:, :, None], 3, axis=2).clip(0, 255).astype(np.uint8)
