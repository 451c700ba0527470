"""How far attention reaches: the paper's average attention distance, and the one of the ViT literature.

Source: EffNet's analysis (distance on the flat token index); Dosovitskiy et al. 2021, figure 7 (distance in pixels).
"""

import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from effnet_jax.presentation.plot_style import GREY, PHOTO, SKETCH, new_plot, plot_files


def token_distance(maps: Float[Array, "l b k n n"]) -> Float[Array, "l k"]:
    """Mean distance of attention on the flat token index, the paper's: sum of A[i, j] |i - j| / (b n).

    CLS is index 0, and a step into the next row of patches counts as a whole row. Uniform attention gives
    (n^2 - 1) / (3 n), which is 65.7 for 197 tokens.

    Returns:
        Tokens, by layer and head.
    """
    index = jnp.arange(maps.shape[-1])
    distance = jnp.abs(index[:, None] - index).astype(jnp.float32)
    return jnp.einsum("l b k i j, i j -> l k", maps, distance) / (maps.shape[1] * maps.shape[-1])


def pixel_distance(maps: Float[Array, "l b k n n"], patch_size: int) -> Float[Array, "l k"]:
    """Mean distance of attention in pixels: between patch centres, without CLS, rows summing to 1 again.

    Args:
        maps: of square images, CLS first.
        patch_size: edge of a patch, pixels.

    Returns:
        Pixels, by layer and head.
    """
    side = round((maps.shape[-1] - 1) ** 0.5)
    centres = jnp.stack(jnp.meshgrid(jnp.arange(side), jnp.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    distance = patch_size * jnp.linalg.norm((centres[:, None] - centres).astype(jnp.float32), axis=-1)  # (m, m)
    patches = maps[..., 1:, 1:]
    rows = jnp.sum(patches, axis=-1, keepdims=True)
    patches = patches / jnp.maximum(rows, 1e-12)
    return jnp.einsum("l b k i j, i j -> l k", patches, distance) / (maps.shape[1] * patches.shape[-1])


def layer_statistics(
    distance: Float[Array | np.ndarray, "l k"],
) -> tuple[Float[np.ndarray, " l"], Float[np.ndarray, " l"]]:
    """Mean and variance (ddof 1) over the heads of each layer; one head alone has no variance (NaN)."""
    values = np.asarray(distance, np.float64)
    heads = values.shape[1]
    return values.mean(1), values.var(1, ddof=1) if heads > 1 else np.full(len(values), np.nan)


def draw_attention_distance(
    stem: str | os.PathLike[str],
    distances: Mapping[tuple[str, str], tuple[Float[np.ndarray, "l k"], Float[np.ndarray, "l k"]]],
    *,
    tokens: int,
    subtitle: str = "",
) -> list[Path]:
    """Draw both definitions side by side, before and after training, for sketches and photos.

    Lines are means over the heads of a layer, bars one standard deviation (ddof 1) to either side, dots heads.

    Args:
        stem: path without extension.
        distances: (domain, moment) -> token and pixel distance; domain "sketch" or "photo", moment "before" or "after".
        tokens: n, for the line of uniform attention.
        subtitle: under the title.
    """
    with new_plot(stem, 10, 4.6, "How far attention reaches", subtitle) as figure:
        axes = figure.subplots(1, 2)
        names = ("on the token index (paper)", "between patch centres, without CLS")
        for axis, which, name, unit in zip(axes, (0, 1), names, ("tokens", "pixels"), strict=True):
            for place, ((domain, moment), both) in enumerate(distances.items()):
                values = np.asarray(both[which])
                layers = np.arange(1, len(values) + 1) + 0.13 * (place - (len(distances) - 1) / 2)
                colour, after = SKETCH if domain == "sketch" else PHOTO, moment == "after"
                marker = "o" if domain == "sketch" else "s"
                mean, variance = layer_statistics(values)
                axis.errorbar(
                    layers, mean, np.sqrt(variance), fmt="-" if after else "--", color=colour, marker=marker,
                    markersize=6, markerfacecolor=colour if after else "white", elinewidth=0.8, capsize=2,
                    label=f"{domain}, {moment} training", zorder=3,
                )  # fmt: skip
                heads = np.repeat(layers, values.shape[1])
                axis.scatter(heads, values.ravel(), s=9, color=colour, alpha=0.35 if after else 0.15, linewidths=0)
            if which == 0:
                uniform = (tokens**2 - 1) / (3 * tokens)
                axis.axhline(uniform, color=GREY, linewidth=1.2, linestyle=":", zorder=1, label="uniform attention")
            axis.set(title=name, xlabel="layer", ylabel=f"average attention distance, {unit}")
            axis.set_xticks(np.arange(1, len(values) + 1))
            axis.set_xlim(0.5, len(values) + 0.5)
            axis.margins(y=0.08)
            axis.set_ylim(bottom=0)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, handlelength=3)
    return plot_files(stem)
