"""From a garment's centimetres to the pixels of a picture."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tfds_builders.procedural_garments.garments.geometry import SIZE, Curve, turn

LARGEST_SCALE = 3.1  # pixels per cm; a cropped top shall not look as large as a coat


@dataclass(frozen=True)
class View:
    """Scale, turn and place; a sketch bends the plane a little as well.

    Attributes:
        middle: point of the drawing, cm, that comes to `place`.
        scale: pixels per cm along x and y.
        half_tangent: of the angle of the turn.
        place: pixels.
        bend: shifts, in pixels, at the knots of a lattice over the picture.
    """

    middle: tuple[float, float]
    scale: tuple[float, float]
    half_tangent: float
    place: tuple[float, float]
    bend: Float[np.ndarray, "m m 2"] | None = None

    def __call__(self, points: Curve) -> Curve:
        """Pixel coordinates of points of the drawing."""
        at = turn((points - np.array(self.middle)) * np.array(self.scale), self.half_tangent) + np.array(self.place)
        if self.bend is None:
            return at
        knots = self.bend.shape[0] - 1
        position = np.clip(at / SIZE, 0, 0.999999) * knots
        cell = np.floor(position).astype(np.int64)
        t = position - cell
        t = t * t * (3 - 2 * t)
        x, y = cell[:, 0], cell[:, 1]
        u, v = t[:, :1], t[:, 1:]
        upper = self.bend[y, x] * (1 - u) + self.bend[y, x + 1] * u
        lower = self.bend[y + 1, x] * (1 - u) + self.bend[y + 1, x + 1] * u
        return at + upper * (1 - v) + lower * v


def fit(
    bounds: Float[np.ndarray, "2 2"],
    *,
    fill: float,
    stretch: float = 1.0,
    half_tangent: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    bend: Float[np.ndarray, "m m 2"] | None = None,
) -> View:
    """The view that shows a drawing with these bounds.

    Args:
        bounds: of the drawing, cm.
        fill: share of the frame that its longer side takes.
        stretch: width over height, beside the true proportion.
        half_tangent: of the turn.
        shift: place in the free margin: -1 to 1 along x and y, 0 is the middle.
        bend: see `View`.
    """
    width, height = (float(v) for v in bounds[1] - bounds[0])
    width *= stretch
    scale = min(fill * SIZE / max(width, height), LARGEST_SCALE * fill)
    free = ((SIZE * 0.98 - width * scale) / 2, (SIZE * 0.98 - height * scale) / 2)
    place = tuple(SIZE / 2 + shift[i] * max(min(free[i], 36.0), 0.0) for i in range(2))
    middle = tuple(float(v) for v in (bounds[0] + bounds[1]) / 2)
    return View(middle, (scale * stretch, scale), half_tangent, (place[0], place[1]), bend)  # type: ignore[arg-type]
