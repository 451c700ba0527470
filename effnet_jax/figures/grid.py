"""The retrieval grid: a sketch, then its first ten photos, the true one framed.

Source: the paper's retrieval figures; ours also prints rank and scores, and does not rely on colour alone.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, Int32, UInt8
from PIL import Image

from effnet_jax.presentation.plot_style import GREY, INK, LINE, new_figure, save_figure
from effnet_jax.retrieval.ranking import Ranking

TRUE, MISSED = "#00785a", "#b3450b"  # a green and an orange that stay apart for colour-blind eyes and on grey paper
MARGIN, GAP, SKETCH_GAP, HEADER, CAPTION, FOOT, PADDING = 24, 8, 26, 104, 34, 10, 4  # pixels at width 1200


@runtime_checkable
class Pictures(Protocol):
    """What the grid needs of a data split."""

    @property
    def sketch_ids(self) -> tuple[str, ...]:
        """Ids of the sketches."""
        ...

    @property
    def photo_index(self) -> Int32[np.ndarray, " s"]:
        """Row of each sketch's photo."""
        ...

    def sketch(self, i: int) -> UInt8[np.ndarray, "h w 3"]:
        """Sketch `i`."""
        ...

    def photo(self, j: int) -> UInt8[np.ndarray, "h w 3"]:
        """Photo `j` of the gallery."""
        ...


def select_queries(ranking: Ranking, count: int, *, rule: str = "random", seed: int = 0) -> Int[np.ndarray, " n"]:
    """Rows to show: chosen at random (in their own order), or those of the worst rank, worst first.

    Args:
        ranking: of all queries.
        count: how many; all of them where there are fewer.
        rule: "random" or "hardest".
        seed: of the draw.
    """
    queries = len(ranking.better)
    if rule == "hardest":
        return np.argsort(-ranking.rank, kind="stable")[:count]
    if rule != "random":
        raise ValueError(f"The rule is 'random' or 'hardest', not {rule!r}.")
    return np.sort(np.random.default_rng(seed).permutation(queries)[:count])


def retrieval_grid(
    pictures: Pictures,
    ranking: Ranking,
    queries: Sequence[int] | Int[np.ndarray, " n"],
    path: str | os.PathLike[str],
    *,
    title: str = "",
    subtitle: str = "",
    columns: int = 10,
    width: int = 1200,
) -> Path:
    """Draw one line per query and save it as PNG, or as SVG where the path ends so.

    Args:
        pictures: a data split, in whose order the ranking is.
        ranking: with `top_index` of at least one photo.
        queries: rows to draw, from top to bottom.
        path: of the file; its folder is made.
        title: first line, such as the data set.
        subtitle: second line, such as the accuracies with their counts.
        columns: photos per line; fewer where the ranking lists fewer.
        width: of the picture in pixels.

    Raises:
        ValueError: no queries, rows that do not exist, or a ranking without listed photos.
    """
    columns = min(columns, ranking.top_index.shape[1])
    rows = [int(i) for i in queries]
    wrong = [i for i in rows if not 0 <= i < len(ranking.better)]
    if not rows or wrong or columns < 1:
        raise ValueError(
            f"Nothing to draw: {len(rows)} queries (not in the ranking: {wrong}), {columns} photos listed per query."
        )
    layout = _Layout(width, columns, len(rows))
    canvas = np.full((layout.height, width, 3), 255, np.uint8)
    for line, i in enumerate(rows):
        layout.paste(canvas, pictures.sketch(i), line, 0)
        for place in range(columns):
            layout.paste(canvas, pictures.photo(int(ranking.top_index[i, place])), line, place + 1)
    figure = new_figure(width / 72, layout.height / 72, arrange=False, dpi=72)  # a pixel is a point, in SVG too
    figure.figimage(canvas, 0, 0, origin="upper")
    _write_header(figure, layout, title, subtitle)
    for line, i in enumerate(rows):
        _annotate(figure, layout, line, ranking, i, pictures.sketch_ids[i], int(pictures.photo_index[i]))
    path = Path(path)
    save_figure(figure, path, dpi=72)
    return path


@dataclass(frozen=True)
class _Layout:
    """Where things stand, in pixels from the top left corner."""

    width: int
    columns: int
    lines: int

    @property
    def scale(self) -> float:
        return self.width / 1200

    def px(self, size: int) -> int:
        return round(size * self.scale)

    @property
    def cell(self) -> int:
        free = self.width - 2 * self.px(MARGIN) - self.px(SKETCH_GAP) - (self.columns - 1) * self.px(GAP)
        return free // (self.columns + 1)

    @property
    def pitch(self) -> int:
        return self.cell + self.px(CAPTION) + self.px(12)

    @property
    def height(self) -> int:
        return self.px(HEADER) + self.lines * self.pitch + self.px(FOOT)

    def corner(self, line: int, column: int) -> tuple[int, int]:
        """Top left pixel of a picture; column 0 is the sketch."""
        x = self.px(MARGIN) + column * self.cell
        if column:
            x += self.px(SKETCH_GAP) + (column - 1) * self.px(GAP)
        return x, self.px(HEADER) + line * self.pitch

    def paste(self, canvas: np.ndarray, image: np.ndarray, line: int, column: int) -> None:
        """Fit a picture into its cell, proportions kept, centred."""
        h, w = image.shape[:2]
        factor = (self.cell - 2 * self.px(PADDING)) / max(h, w)
        size = max(1, round(w * factor)), max(1, round(h * factor))
        small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
        x, y = self.corner(line, column)
        x, y = x + (self.cell - size[0]) // 2, y + (self.cell - size[1]) // 2
        canvas[y : y + size[1], x : x + size[0]] = small


def _text(figure: Any, layout: _Layout, x: float, y: float, text: str, *, size: int, limit: float, **look: Any) -> None:
    """Text whose baseline is y pixels below the top, made smaller where it is wider than `limit` pixels."""
    look = {"va": "baseline", "parse_math": False, "color": INK, "fontsize": size * layout.scale} | look
    drawn = figure.text(x / layout.width, 1 - y / layout.height, text, **look)
    renderer = figure.canvas.get_renderer()
    while drawn.get_window_extent(renderer).width > limit and drawn.get_fontsize() > 1:  # hinting: not quite linear
        drawn.set_fontsize(0.95 * drawn.get_fontsize())


def _frame(figure: Any, layout: _Layout, x: float, y: float, size: float, *, colour: str, thickness: int) -> None:
    """A frame drawn around, not over, a square of pixels."""
    from matplotlib.patches import Rectangle

    x, y, size = x - thickness / 2, y - thickness / 2, size + thickness
    corner = x, layout.height - y - size
    figure.add_artist(Rectangle(corner, size, size, fill=False, ec=colour, lw=thickness, transform=None))


def _write_header(figure: Any, layout: _Layout, title: str, subtitle: str) -> None:
    px = layout.px
    limit = layout.width - 2 * px(MARGIN)
    _text(figure, layout, px(MARGIN), px(38), title, size=20, limit=limit, fontweight="bold")
    _text(figure, layout, px(MARGIN), px(63), subtitle, size=13, limit=limit, color=GREY)
    for column in range(layout.columns + 1):
        x = layout.corner(0, column)[0] + layout.cell / 2
        name = str(column) if column else "sketch"
        _text(figure, layout, x, px(HEADER - 9), name, size=12, limit=layout.cell, color=GREY, ha="center")


def _annotate(figure: Any, layout: _Layout, line: int, ranking: Ranking, i: int, sketch_id: str, truth: int) -> None:
    """Frames and captions of one line."""
    px = layout.px
    x, y = layout.corner(line, 0)
    rank = ranking.rank[i]
    found = rank <= layout.columns
    _frame(figure, layout, x, y, layout.cell, colour=LINE, thickness=1)
    below = y + layout.cell
    limit = layout.cell + px(SKETCH_GAP) - px(GAP)
    colour = TRUE if found else MISSED
    _text(figure, layout, x, below + px(18), f"rank {rank:g}", size=13, limit=limit, color=colour, fontweight="bold")
    _text(figure, layout, x, below + px(33), sketch_id, size=10, limit=limit, color=GREY)
    for place in range(layout.columns):
        x, y = layout.corner(line, place + 1)
        true = int(ranking.top_index[i, place]) == truth
        _frame(figure, layout, x, y, layout.cell, colour=TRUE if true else LINE, thickness=px(4) if true else 1)
        score = f"{ranking.top_score[i, place]:.3f}"
        look = {"fontweight": "bold", "color": TRUE} if true else {"color": GREY}
        caption = f"✓ true  {score}" if true else score
        middle = x + layout.cell / 2
        _text(figure, layout, middle, below + px(18), caption, size=11, limit=layout.cell, ha="center", **look)
