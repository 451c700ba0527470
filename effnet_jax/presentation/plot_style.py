"""How our figures look: fonts, colours that colour-blind readers tell apart, and saving as PNG and SVG."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from effnet_jax.storage.files import replacing

INK, GREY, LINE = "#1b1f24", "#59636e", "#d8dee4"
# Okabe and Ito's palette: apart for all common kinds of colour blindness, and of differing lightness on grey paper.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#e69f00", "#8a4f7d", "#56b4e9"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
# With the colours, so that no series rests on colour alone; gaps let a line under another show through.
DASHES = ("-", (0, (5, 2)), (0, (7, 2, 1.5, 2)), (0, (1.2, 1.8)), (0, (3, 3)), (0, (9, 3)), (0, (5, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
SKETCH, PHOTO = VERMILION, BLUE
DPI = 160  # of PNG files: sharp on paper at 12 cm and on dense screens

_RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelsize": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a dollar in a file name is no formula
    "legend.frameon": False,
    "lines.linewidth": 2,
}


@contextmanager
def new_plot(
    stem: str | os.PathLike[str], width: float, height: float, title: str, subtitle: str = "", *, arrange: bool = True
) -> Iterator[Any]:
    """Give a figure in our style to draw in; when the block ends well it gets its heading and is saved.

    Our settings hold inside the block only: matplotlib's global state stays as it was.

    Args:
        stem: path without extension; `plot_files` gives the files.
        width: inches.
        height: inches.
        title: what it shows.
        subtitle: a line of figures under the title.
        arrange: as for `new_figure`.
    """
    import matplotlib as mpl

    with mpl.rc_context(_RC):
        figure = new_figure(width, height, arrange=arrange)
        yield figure
        _add_heading(figure, title, subtitle)
        for path in plot_files(stem):
            save_figure(figure, path)


def new_figure(width: float, height: float, *, arrange: bool = True, dpi: int = DPI) -> Any:
    """Make a figure without pyplot and its global state.

    Args:
        width: inches.
        height: inches.
        arrange: let matplotlib place the axes; False where they are placed in inches.
        dpi: pixels per inch.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white", layout="constrained" if arrange else None)
    FigureCanvasAgg(figure)
    return figure


def framed(figure: Any, place: tuple[float, float, float, float], picture: UInt8[np.ndarray, "_ _ 3"]) -> Any:
    """Show a picture with a thin frame and no ticks.

    Args:
        figure: to show it in.
        place: left, bottom, width and height, as shares of the figure.
        picture: RGB.

    Returns:
        The axes.
    """
    axis = figure.add_axes(place)
    axis.imshow(picture, interpolation="lanczos")
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set(visible=True, color=LINE)
    return axis


def _add_heading(figure: Any, title: str, subtitle: str) -> None:
    """Put a title and a line of figures above everything, flush left, broken where they would run over the edge."""
    import textwrap

    characters = int(figure.get_figwidth() * 14.2)
    lines = textwrap.wrap(subtitle, characters)
    words = "\n".join(textwrap.wrap(title, int(characters * 0.78)))
    inches = 0.22 * (words.count("\n") + 1) + 0.19 * len(lines) + 0.12
    top = 1 - inches / figure.get_figheight()
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0, 1, top))
    x = 0.12 / figure.get_figwidth()
    down = 0.08 / figure.get_figheight()
    figure.text(x, 1 - down, words, fontsize=12, fontweight="bold", va="top", ha="left")
    below = 1 - down - 0.22 * (words.count("\n") + 1) / figure.get_figheight()
    figure.text(x, below, "\n".join(lines), fontsize=9, color=GREY, va="top", ha="left", linespacing=1.3)


def plot_files(stem: str | os.PathLike[str]) -> list[Path]:
    """The files of a plot."""
    return [Path(f"{stem}.png"), Path(f"{stem}.svg")]


def save_figure(figure: Any, path: Path, *, dpi: int = DPI) -> None:
    """Save a figure as SVG where the path ends so, else as PNG; whole or not at all, and the same bytes each time."""
    import matplotlib as mpl

    kind, metadata = ("svg", {"Date": None}) if path.suffix == ".svg" else ("png", None)
    with replacing(path) as temporary, mpl.rc_context({"svg.hashsalt": "effnet_jax"}):
        figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)
