"""Where an encoder looks: attention of the CLS token over a sketch and over its photo."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import Float, UInt8
from PIL import Image

from effnet_jax.presentation.plot_style import GREY, framed, new_plot, plot_files

READS = {
    "cls": "attention of the CLS token in the last layer, mean over heads",
    "received": "attention that each patch receives in the last layer, mean over heads and patches "
    "(the feature is made from patch tokens, and the CLS token is not trained)",
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
    grid = rearrange(rows, "b (i j) -> b i j", i=round(rows.shape[1] ** 0.5))
    return grid, READS["cls" if pooling == "cls" else "received"]


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
    tile, gap, between, margin, line, head, foot = 1.3, 0.06, 0.3, 0.12, 1.62, 1.0, 0.45  # inches
    width = 2 * margin + columns * (4 * tile + 3 * gap) + (columns - 1) * between
    height = head + rows * line + foot
    with new_plot(stem, width, height, "Where the encoders look", subtitle, arrange=False) as figure:
        for place, (name, sketch, photo) in enumerate(pairs):
            left = margin + place % columns * (4 * tile + 3 * gap + between)
            bottom = height - head - (place // columns) * line - tile
            pictures = ((sketch, None), (sketch, sketches[place]), (photo, None), (photo, photos[place]))
            for i, (picture, weights) in enumerate(pictures):
                x = left + i * (tile + gap)
                spot = (x / width, bottom / height, tile / width, tile / height)
                axis = framed(figure, spot, picture if weights is None else _overlaid(picture, weights))
                if i == 0:
                    axis.set_title(name, fontsize=8.5, color=GREY, fontweight="normal", pad=3)
        _colour_bar(figure, width, height, margin)
    return plot_files(stem)


def _colour_bar(figure: Any, width: float, height: float, margin: float) -> None:
    axis = figure.add_axes((margin / width, 0.2 / height, 1.6 / width, 0.11 / height))
    axis.imshow(_colours(np.linspace(0, 1, 200)[None], np.full((1, 200, 3), 255.0)), aspect="auto")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    figure.text(
        (margin + 1.7) / width, 0.255 / height, "none to most in this picture", fontsize=9, color=GREY, va="center"
    )


def _overlaid(picture: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The picture in pale grey, coloured where there is attention; without attention it stays as it is."""
    grey = np.asarray(Image.fromarray(picture).convert("L"), np.float32)
    heat = _upsample(weights, picture.shape[0])
    return _colours(heat / max(float(heat.max()), 1e-12), np.repeat((0.7 * grey + 76)[:, :, None], 3, axis=2))


def _colours(heat: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Colours that darken as attention grows, so that they read without hue, too."""
    from matplotlib import colormaps

    colour = 255 * colormaps["inferno_r"](0.12 + 0.75 * heat)[..., :3]
    cover = (0.9 * np.sqrt(heat))[..., None]
    return (colour * cover + under * (1 - cover)).clip(0, 255).astype(np.uint8)


def _upsample(weights: np.ndarray, edge: int) -> np.ndarray:
    image = Image.fromarray(weights.astype(np.float32)).resize((edge, edge), Image.Resampling.BICUBIC)
    return np.maximum(np.asarray(image), 0)
