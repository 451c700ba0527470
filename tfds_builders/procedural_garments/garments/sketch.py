"""Sketches: pen strokes of the same garment by one of seven designers."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8

from tfds_builders.procedural_garments.garments.assembly import assemble
from tfds_builders.procedural_garments.garments.drawing import Line, Part
from tfds_builders.procedural_garments.garments.geometry import (
    OVERSAMPLING,
    SIZE,
    Curve,
    cells,
    line,
    resample,
    shrink,
    stamp,
    wander,
)
from tfds_builders.procedural_garments.garments.parameters import Garment
from tfds_builders.procedural_garments.garments.patterns import layers
from tfds_builders.procedural_garments.garments.view import View, fit

NUM_DESIGNERS = 7
SPACING = 0.45  # pixels between the discs of a stroke


@dataclass(frozen=True)
class Designer:
    """A hand.

    Attributes:
        weight: radius of the pen, pixels.
        swell: how much the weight changes along a stroke, share.
        taper: length over which a stroke starts and ends thin, pixels.
        wobble: amplitude of the hand's wander, pixels.
        wavelength: of that wander, pixels.
        tremor: amplitude of a fast wander, pixels.
        overshoot: how far strokes run past their ends, pixels.
        restate: chance that an outline is drawn a second time.
        lift: chance that a stroke is interrupted.
        ink: darkness, 0 to 255.
        folds: share of the folds that are drawn.
        stitches: share of the stitches and ribs that are drawn.
        pattern: share of the pattern's strokes that are drawn.
        hatch: whether pieces in the second colour are hatched.
        proportion: largest error of a proportion, share.
        tilt: two thirds of the largest turn of the sheet, as the tangent of half its angle.
        lean: turn that this designer always has.
    """

    weight: float
    swell: float
    taper: float
    wobble: float
    wavelength: float
    tremor: float
    overshoot: float
    restate: float
    lift: float
    ink: int
    folds: float
    stitches: float
    pattern: float
    hatch: bool
    proportion: float
    tilt: float
    lean: float


# four professional hands, then three junior ones
DESIGNERS = (
    Designer(0.85, 0.25, 9, 0.5, 60, 0.05, 1.0, 0.05, 0.02, 235, 0.9, 0.9, 0.95, False, 0.045, 0.030, 0.0),
    Designer(1.1, 0.45, 16, 0.8, 80, 0.0, 4.5, 0.30, 0.02, 215, 0.8, 0.5, 0.75, True, 0.055, 0.040, 0.015),
    Designer(0.72, 0.15, 5, 0.6, 40, 0.12, 2.0, 0.75, 0.05, 205, 0.7, 0.8, 0.85, False, 0.050, 0.035, -0.015),
    Designer(1.4, 0.30, 6, 0.7, 55, 0.05, 0.5, 0.0, 0.0, 250, 0.3, 0.3, 0.80, True, 0.060, 0.030, 0.0),
    Designer(1.0, 0.20, 3, 1.5, 34, 0.25, 2.5, 0.15, 0.12, 220, 0.3, 0.4, 0.70, False, 0.085, 0.060, 0.02),
    Designer(1.2, 0.30, 4, 1.9, 46, 0.15, 3.5, 0.35, 0.08, 200, 0.5, 0.2, 0.60, True, 0.095, 0.060, -0.03),
    Designer(0.9, 0.25, 4, 1.3, 26, 0.45, 1.5, 0.10, 0.15, 230, 0.2, 0.5, 0.65, False, 0.090, 0.070, 0.0),
)
_WEIGHTS = {
    "seam": 0.8,
    "edge": 1.0,
    "fold": 0.65,
    "stitch": 0.6,
    "rib": 0.6,
    "cord": 1.0,
    "zip": 0.9,
    "quilt": 0.8,
    "print": 0.9,
}
_SKIPPED_BY_CHANCE = {"fold": "folds", "stitch": "stitches", "rib": "stitches"}
_PROPORTIONS = (
    "neck",
    "shoulder",
    "chest",
    "waist",
    "hip",
    "hem",
    "rise",
    "length",
    "sleeve_length",
    "sleeve_width",
    "depth",
    "pattern_size",
)


def draw_sketch(garment: Garment, designer: int, seed: int) -> UInt8[np.ndarray, "256 256 3"]:
    """A sketch of a garment.

    Args:
        garment: what the designer looks at.
        designer: 0 to 6.
        seed: of this drawing; another one gives another attempt by the same hand.

    Raises:
        ValueError: there is no such designer.
    """
    if not 0 <= designer < NUM_DESIGNERS:
        raise ValueError(f"designer={designer}: choose 0 to {NUM_DESIGNERS - 1} (tag 01 is designer 0)")
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, designer, garment.seed, 2])))
    hand = DESIGNERS[designer]
    seen = _misjudged(garment, hand, rng)
    drawing = assemble(seen)
    u = rng.random(6)
    view = fit(
        drawing.bounds(),
        fill=float(0.72 + 0.21 * u[0]),
        stretch=float(1 + 2.4 * hand.proportion * (u[1] - 0.5)),
        half_tangent=float(hand.lean + 3 * hand.tilt * (u[2] - 0.5)),
        shift=(float(1.7 * (u[3] - 0.5)), float(1.7 * (u[4] - 0.5))),
        bend=(rng.random((5, 5, 2)) - 0.5) * (2 + 60 * hand.proportion),
    )
    pen = _Pen(seen, hand, view, rng)
    for element in drawing.elements:
        if isinstance(element, Part):
            pen.part(element)
        else:
            pen.line(element)
    grey = 255 - shrink(pen.paper)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _misjudged(garment: Garment, hand: Designer, rng: np.random.Generator) -> Garment:
    """The garment with proportions as this hand gets them."""
    changes = {n: getattr(garment, n) * (1 + 2 * hand.proportion * (float(rng.random()) - 0.5)) for n in _PROPORTIONS}
    spread = garment.spread + 1.6 * hand.proportion * (float(rng.random()) - 0.5)
    return replace(garment, **changes, spread=max(spread, 0.02))


class _Pen:
    """The paper and the hand that draws on it."""

    def __init__(self, garment: Garment, hand: Designer, view: View, rng: np.random.Generator):
        self.garment, self.hand, self.view, self.rng = garment, hand, view, rng
        self._latest: tuple[Curve, Bool[np.ndarray, "s s"]] | None = None
        self.paper = np.zeros((SIZE * OVERSAMPLING, SIZE * OVERSAMPLING), dtype=np.uint8)

    def part(self, part: Part) -> None:
        """Outline a piece; it hides what was drawn below it."""
        clip = None if part.clip is None else self._cells(part.clip)
        inside = cells([self.view(part.outline)]) if clip is None else cells([self.view(part.outline)]) & clip
        if part.lift or part.fabric in ("lining", "light"):
            self.paper[inside] = 0
        for layer in layers(self.garment, part):
            for stroke in layer.strokes:
                if self.rng.random() < self.hand.pattern:
                    self.stroke(self.view(stroke), 0.7, inside)
        shaded = part.fabric == "lining" and part.tone < 0.75
        if shaded or (self.hand.hatch and part.fabric in ("second", "trim")):
            self._hatch(part, inside)
        for index, edge in enumerate(part.edges):
            if index not in part.hidden:
                self.stroke(self.view(edge), 1.0 if part.clip is None else 0.85, clip)
                if self.rng.random() < self.hand.restate:
                    self.stroke(self.view(edge), 0.7, clip)

    def _cells(self, clip: Curve) -> Bool[np.ndarray, "s s"]:
        """Cells of a clip; lines on one piece share one object."""
        if self._latest is None or self._latest[0] is not clip:
            self._latest = (clip, cells([self.view(clip)]))
        return self._latest[1]

    def line(self, element: Line) -> None:
        """A line on the cloth, unless the designer leaves it out."""
        share = _SKIPPED_BY_CHANCE.get(element.role)
        if share and self.rng.random() > getattr(self.hand, share):
            return
        clip = None if element.clip is None else self._cells(element.clip)
        points = self.view(element.points)
        if element.role == "zip":
            for side in (-1.1, 1.1):
                self.stroke(points + np.array([side, 0.0]), 0.75, clip)
            return
        self.stroke(points, _WEIGHTS[element.role], clip, dashed=element.role == "stitch")

    def stroke(
        self, points: Curve, weight: float, clip: Bool[np.ndarray, "s s"] | None = None, *, dashed: bool = False
    ) -> None:
        """One movement of the pen along the points (pixels)."""
        hand, rng = self.hand, self.rng
        points, at = resample(points, SPACING)
        length = float(at[-1])
        if length > 12:
            points = _lengthen(points, *(hand.overshoot * float(v) for v in rng.random(2) * 1.4 - 0.4))
            points, at = resample(points, SPACING)
            length = float(at[-1])
        calm = min(1.0, 0.25 + length / 40)  # short strokes wander less
        drift = wander(rng, at, hand.wavelength, 3)
        shift = drift[:, :2] * (hand.wobble * calm)
        if hand.tremor:
            shift = shift + wander(rng, at, 5.0, 2) * (hand.tremor * calm)
        radius = hand.weight * weight * (1 + hand.swell * drift[:, 2])
        if length > 6:
            ends = np.minimum(np.minimum(at, length - at) / min(hand.taper, length / 3), 1.0)
            radius = radius * (0.55 + 0.45 * ends)
        keep = np.ones(len(at), dtype=bool)
        if dashed:
            keep &= (at % 5.0) < 3.0
        if length > 25 and rng.random() < hand.lift:
            gap = float(rng.random()) * length
            keep &= np.abs(at - gap) > 2.5
        points = points + shift
        if clip is not None:
            cell = np.clip(np.floor(points * OVERSAMPLING).astype(np.int64), 0, SIZE * OVERSAMPLING - 1)
            keep &= clip[cell[:, 1], cell[:, 0]]
        stamp(self.paper, points[keep], radius[keep], hand.ink)

    def _hatch(self, part: Part, inside: Bool[np.ndarray, "s s"]) -> None:
        """Slanting strokes, where the cloth is of another colour or in the shade."""
        outline = self.view(part.outline)
        (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
        height = float(y1 - y0)
        step = 4.5 if part.fabric == "lining" else 6.0
        for k in range(int((float(x1 - x0) + 0.6 * height) / step) + 1):
            x = float(x0) - 0.6 * height + k * step
            self.stroke(line((x, float(y1)), (x + 0.6 * height, float(y0))), 0.55, inside)


def _lengthen(points: Curve, before: float, after: float) -> Curve:
    """The line with straight pieces added at its ends; negative lengths cut it short."""
    head, tail = points[0] - points[min(8, len(points) - 1)], points[-1] - points[max(-9, -len(points))]
    start = points[0] + head * (max(before, 0.0) / _norm(head))
    end = points[-1] + tail * (max(after, 0.0) / _norm(tail))
    first, last = int(max(-before, 0.0) / SPACING), len(points) - int(max(-after, 0.0) / SPACING)
    return np.concatenate([start[None], points[first:last], end[None]]) if last - first > 2 else points


def _norm(vector: np.ndarray) -> float:
    return max(float(np.sqrt(vector[0] * vector[0] + vector[1] * vector[1])), 1e-6)
