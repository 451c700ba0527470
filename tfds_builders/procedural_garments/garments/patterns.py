"""Patterns of the cloth, as shapes: a photo fills them, a sketch hints at some of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfds_builders.procedural_garments.garments.drawing import Part
from tfds_builders.procedural_garments.garments.geometry import Curve, Point, line, turn
from tfds_builders.procedural_garments.garments.parameters import Garment
from tfds_builders.procedural_garments.garments.shapes import motif


@dataclass(frozen=True)
class Layer:
    """Shapes in the second colour: `shapes` are closed, `strokes` are what a pen would draw for them."""

    shapes: Sequence[Curve]
    strokes: Sequence[Curve]
    opacity: float = 1.0

    def turned(self, half_tangent: float, about: Point) -> "Layer":
        """The layer turned about a point."""
        shapes, strokes = ([turn(c, half_tangent, about) for c in curves] for curves in (self.shapes, self.strokes))
        return replace(self, shapes=shapes, strokes=strokes)


Box = tuple[float, float, float, float]


def layers(g: Garment, part: Part) -> list[Layer]:
    """The pattern of a piece, turned about its centre by the half tangent `axis`; none where its cloth has none."""
    if g.pattern == "plain" or part.fabric not in ("main", "lining"):
        return []
    low, high = part.outline.min(axis=0), part.outline.max(axis=0)
    if not part.axis:
        return PATTERNS[g.pattern](g, (*low, *high))
    centre, reach = (low + high) / 2, 0.6 * max(high - low) + 2
    return [m.turned(part.axis, centre) for m in PATTERNS[g.pattern](g, (*(centre - reach), *(centre + reach)))]


def _bands(box: Box, step: float, width: float, vertical: bool) -> tuple[list[Curve], list[Curve]]:
    """Bands and their borders, on a grid that does not depend on the box."""
    a, b = (box[0], box[2]) if vertical else (box[1], box[3])
    c, e = (box[1], box[3]) if vertical else (box[0], box[2])
    shapes, strokes = [], []
    for k in range(int(np.floor(a / step)) - 1, int(np.ceil(b / step)) + 1):
        u = k * step + 0.35 * step
        if vertical:
            shapes.append(line((u, c), (u + width, c), (u + width, e), (u, e)))
            strokes.append(line((u + width / 2, c), (u + width / 2, e)))
        else:
            shapes.append(line((c, u), (e, u), (e, u + width), (c, u + width)))
            strokes.append(line((c, u + width / 2), (e, u + width / 2)))
    return shapes, strokes


def _borders(shapes: list[Curve]) -> list[Curve]:
    """Both long sides of each band, for bands wide enough to be drawn as two lines."""
    wide = [abs(s[1, 0] - s[0, 0]) > abs(s[2, 1] - s[1, 1]) for s in shapes]
    return [
        s[list(side)]
        for s, w in zip(shapes, wide, strict=True)
        for side in (((0, 1), (3, 2)) if w else ((0, 3), (1, 2)))
    ]


def _stripes(vertical: bool, share: float, scale: float = 1.0) -> Callable[[Garment, Box], list[Layer]]:
    def make(g: Garment, box: Box) -> list[Layer]:
        step = g.pattern_size * scale
        shapes, strokes = _bands(box, step, step * share, vertical)
        return [Layer(shapes, strokes if share * step < 2.6 else _borders(shapes))]

    return make


def _diagonal(g: Garment, box: Box) -> list[Layer]:
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    reach = max(box[2] - box[0], box[3] - box[1])
    wide = (centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach)
    shapes, _ = _bands(wide, g.pattern_size, 0.4 * g.pattern_size, True)
    return [Layer(shapes, _borders(shapes)).turned(0.4, centre)]


def _grid(share: float, opacity: float, scale: float, double: bool) -> Callable[[Garment, Box], list[Layer]]:
    def make(g: Garment, box: Box) -> list[Layer]:
        step = g.pattern_size * scale
        made = []
        for vertical in (False, True):
            shapes, strokes = _bands(box, step, step * share, vertical)
            made.append(Layer(shapes, _borders(shapes) if double else strokes, opacity))
        return made

    return make


def _lattice(name: str, size: float, scale: float, *, spin: bool = False) -> Callable[[Garment, Box], list[Layer]]:
    def make(g: Garment, box: Box) -> list[Layer]:
        step = g.pattern_size * scale
        shapes = []
        for row in range(int(np.floor(box[1] / step)), int(np.ceil(box[3] / step)) + 1):
            for column in range(int(np.floor(box[0] / step)) - 1, int(np.ceil(box[2] / step)) + 1):
                shape = motif(name, step * size)
                if spin:
                    shape = turn(shape, ((row * 7 + column * 3) % 5 - 2) * 0.25)
                shapes.append(shape + np.array([(column + (0.5 if row % 2 else 0.0)) * step, row * step * 0.9]))
        return [Layer(shapes, [np.concatenate([s, s[:1]]) for s in shapes])]

    return make


def _zigzag(g: Garment, box: Box) -> list[Layer]:
    step, half = g.pattern_size * 1.2, 0.35 * g.pattern_size
    shapes, strokes = [], []
    columns = np.arange(int(np.floor(box[0] / half)) - 1, int(np.ceil(box[2] / half)) + 2)
    for k in range(int(np.floor(box[1] / step)) - 1, int(np.ceil(box[3] / step)) + 1):
        y = k * step + np.where(columns % 2 == 0, 0.0, half * 1.3)
        upper = np.stack([columns * half, y], axis=1)
        lower = upper + np.array([0, 0.36 * step])
        shapes.append(np.concatenate([upper, lower[::-1]]))
        strokes += [upper, lower]
    return [Layer(shapes, strokes)]


def _breton(g: Garment, box: Box) -> list[Layer]:
    """Stripes on the chest or the thighs only."""
    step = 0.55 * g.pattern_size
    shapes, strokes = _bands((box[0], 14.0, box[2], 14.0 + 4.5 * step), step, 0.45 * step, False)
    return [Layer(shapes, strokes)]


PATTERNS: dict[str, Callable[[Garment, Box], list[Layer]]] = {
    "hstripes": _stripes(False, 0.45),
    "vstripes": _stripes(True, 0.35, 0.8),
    "diagonal": _diagonal,
    "checks": _grid(0.45, 0.55, 1.3, True),
    "windowpane": _grid(0.09, 0.9, 1.2, False),
    "gingham": _grid(0.5, 0.5, 0.7, False),
    "dots": _lattice("dot", 0.2, 0.85),
    "spots": _lattice("dot", 0.34, 1.5),
    "floral": _lattice("flower", 0.4, 1.35, spin=True),
    "hearts": _lattice("heart", 0.32, 1.2),
    "stars": _lattice("star", 0.36, 1.2),
    "triangles": _lattice("triangle", 0.36, 1.1),
    "leaves": _lattice("leaf", 0.46, 1.2, spin=True),
    "argyle": _lattice("diamond", 0.5, 1.25),
    "zigzag": _zigzag,
    "breton": _breton,
}
