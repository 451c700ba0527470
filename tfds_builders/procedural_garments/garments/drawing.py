"""What a garment is made of, in paint order: parts (closed, filled in a photo) and lines (seams, folds, stitches)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from tfds_builders.procedural_garments.garments.geometry import Curve, mirror


@dataclass(frozen=True)
class Part:
    """A closed piece of cloth.

    Attributes:
        edges: curves that, one after the other, go once around the piece.
        hidden: indices of edges that no pen draws (they lie under another piece, or are no edge at all).
        fabric: "main", "second", "trim", "lining", "light", "metal" or "button".
        tone: brightness, 1 is the colour itself.
        axis: half tangent of the direction in which the pattern is turned.
        lift: how strong a shadow the piece casts on what lies below, 0 to 1.
        clip: outline of the piece that this one is a region of; nothing is painted outside.
    """

    edges: tuple[Curve, ...]
    hidden: tuple[int, ...] = ()
    fabric: str = "main"
    tone: float = 1.0
    axis: float = 0.0
    lift: float = 0.3
    clip: Curve | None = None

    @property
    def outline(self) -> Curve:
        """All edges as one closed polygon."""
        return np.concatenate(self.edges)


@dataclass(frozen=True)
class Line:
    """A line on the cloth: role is "seam", "fold", "stitch", "rib", "edge", "zip" or "detail"."""

    points: Curve
    role: str = "seam"
    clip: Curve | None = None


@dataclass
class Drawing:
    """A garment being put together, bottom piece first; x points to the right of the picture, 0 is its middle."""

    elements: list[Part | Line] = field(default_factory=list)

    def part(
        self,
        edges: Sequence[Curve],
        *,
        hidden: tuple[int, ...] = (),
        fabric: str = "main",
        tone: float = 1.0,
        axis: float = 0.0,
        lift: float = 0.3,
        clip: Curve | None = None,
        both: bool = False,
    ) -> Curve:
        """Add a piece; with `both`, its mirror image first. Returns the outline (of the right one)."""
        if both:
            flipped = tuple(mirror(edge) for edge in edges)
            other = None if clip is None else mirror(clip)
            self.elements.append(Part(flipped, hidden, fabric, tone, -axis, lift, other))
        piece = Part(tuple(edges), hidden, fabric, tone, axis, lift, clip)
        self.elements.append(piece)
        return piece.outline

    def line(self, points: Curve, role: str = "seam", *, clip: Curve | None = None, both: bool = False) -> None:
        """Add a line; with `both`, its mirror image as well."""
        if both:
            self.elements.append(Line(mirror(points), role, None if clip is None else mirror(clip)))
        self.elements.append(Line(points, role, clip))

    def bounds(self) -> Float[np.ndarray, "2 2"]:
        """Smallest and largest coordinates: [[x0, y0], [x1, y1]]."""
        points = np.concatenate([e.outline for e in self.elements if isinstance(e, Part) and e.clip is None])
        return np.stack([points.min(axis=0), points.max(axis=0)])
