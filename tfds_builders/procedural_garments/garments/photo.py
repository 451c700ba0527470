"""Photos: the garment filled, shaded and textured on white, as a catalogue shows it lying flat."""

from itertools import groupby

import numpy as np
from jaxtyping import Float, UInt8

from tfds_builders.procedural_garments.garments.assembly import assemble
from tfds_builders.procedural_garments.garments.drawing import Line, Part
from tfds_builders.procedural_garments.garments.geometry import (
    OVERSAMPLING,
    SIZE,
    Window,
    blur,
    cells,
    fill,
    noise,
    resample,
    shrink,
    stamp,
    window,
)  # fmt: skip
from tfds_builders.procedural_garments.garments.palette import COLOURS, DENIM, LIGHT, METAL, THREAD
from tfds_builders.procedural_garments.garments.parameters import Garment
from tfds_builders.procedural_garments.garments.patterns import layers
from tfds_builders.procedural_garments.garments.view import View, fit

_F = np.float32
# role -> (radius in pixels, strength, blur radius)
_LINES = {
    "seam": (0.45, 0.75, 0),
    "edge": (0.55, 0.9, 0),
    "fold": (1.5, 0.55, 2),
    "stitch": (0.32, 0.6, 0),
    "rib": (0.4, 0.5, 0),
    "cord": (0.95, 1.0, 0),
    "zip": (1.1, 1.0, 0),
    "quilt": (0.6, 0.8, 0),
    "print": (0.7, 1.0, 0),
}


def draw_photo(garment: Garment) -> UInt8[np.ndarray, "256 256 3"]:
    """The photo of a garment; the same garment gives the same picture."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([garment.seed, 1])))
    drawing = assemble(garment)
    u = rng.random(5)
    view = fit(drawing.bounds(), fill=float(0.82 + 0.12 * u[0]), half_tangent=float(0.07 * (u[1] - 0.5)),
               shift=(float(0.5 * (u[2] - 0.5)), float(0.5 * (u[3] - 0.5))))  # fmt: skip
    painter = _Painter(garment, view, rng)
    painter.ground([e for e in drawing.elements if isinstance(e, Part)])
    for key, group in groupby(drawing.elements, key=lambda e: (e.role, id(e.clip)) if isinstance(e, Line) else None):
        if key is None:
            for part in group:
                painter.part(part)  # type: ignore[arg-type]
        else:
            painter.lines(list(group), key[0])  # type: ignore[arg-type]
    return np.rint(np.clip(painter.canvas, 0, 255)).astype(np.uint8)


class _Painter:
    """The canvas and what is the same for all pieces of one photo."""

    def __init__(self, garment: Garment, view: View, rng: np.random.Generator):
        self.garment, self.view = garment, view
        self.canvas = np.full((SIZE, SIZE, 3), 253, dtype=_F)
        rows = np.arange(SIZE, dtype=_F)[:, None] / _F(SIZE)
        columns = np.arange(SIZE, dtype=_F)[None, :] / _F(SIZE)
        drape = noise(rng, (7, 12)) * _F(0.055) + noise(rng, (16, 22)) * _F(0.035)
        self.light = _F(1.07) - _F(0.09) * columns - _F(0.06) * rows + drape + self._texture(rng)
        self.tint: dict[str, np.ndarray] = {k: np.array(v, dtype=_F) for k, v in _colours(garment).items()}

    def _texture(self, rng: np.random.Generator) -> Float[np.ndarray, "256 256"]:
        grain = rng.integers(-8, 9, size=(SIZE, SIZE)).astype(_F) / _F(8)
        rows, columns = np.arange(SIZE)[:, None], np.arange(SIZE)[None, :]
        if self.garment.cloth == "denim":
            twill = ((columns + 2 * rows) % 4 < 2).astype(_F) - _F(0.5)
            return grain * _F(0.05) + twill * _F(0.05) + noise(rng, (9, 9)) * _F(0.05)
        if self.garment.cloth in ("knit", "cable"):
            loops = (((columns % 4) - 1.5) * ((rows + columns // 2) % 3 - 1)).astype(_F)
            return grain * _F(0.02) + loops * _F(0.03)
        return grain * _F(0.018)

    def ground(self, parts: list[Part]) -> None:
        """A soft shadow of the whole garment on the white below it."""
        whole = np.zeros((SIZE, SIZE), dtype=np.uint8)
        for p in parts:
            if p.clip is None and p.lift >= 0.15:
                outline = self.view(p.outline)
                area = window(outline, 1)
                box = _slices(area)
                whole[box] = np.maximum(whole[box], fill([outline], area))
        shade = blur(_moved(whole, 3, 4), 4, 3).astype(_F) / _F(255)
        self.canvas *= (_F(1) - _F(0.17) * shade)[:, :, None]

    def part(self, part: Part) -> None:
        """Fill one piece: shadow below it, colour, pattern, shading towards its edges, rim."""
        outline = self.view(part.outline)
        area = window(outline, 9)
        piece = fill([outline], area)
        if part.clip is not None:
            piece = np.minimum(piece, fill([self.view(part.clip)], area))
        box = _slices(area)
        target = self.canvas[box]
        if part.lift:
            shade = blur(_moved(piece, 1, 2), 2, 2).astype(_F) / _F(255)
            target *= (_F(1) - _F(0.5 * part.lift) * shade)[:, :, None]
        colour = np.broadcast_to(self.tint[part.fabric], (*piece.shape, 3))
        for layer in layers(self.garment, part):
            if layer.shapes:
                cover = fill([self.view(s) for s in layer.shapes], area).astype(_F) * _F(layer.opacity / 255)
                colour = colour + (self.tint["second"] - colour) * cover[:, :, None]
        small = min(piece.shape) < 58
        soft = blur(piece, 2 if small else 4, 2).astype(_F) / _F(255)
        rounded = _F(0.80) + _F(0.24) * np.clip((soft - _F(0.45)) * _F(1.9), 0, 1)
        shade = self.light[box] * rounded * _F(part.tone)
        alpha = (piece.astype(_F) / _F(255))[:, :, None]
        target += (colour * shade[:, :, None] + _F(6) - target) * alpha

    def lines(self, lines: list[Line], role: str) -> None:
        """Draw lines of one role (and one clip) at once."""
        radius, strength, soften = _LINES[role]
        curves = [self.view(one.points) for one in lines]
        area = window(np.concatenate(curves), 9)
        fine = np.zeros([(area[i + 2] - area[i]) * OVERSAMPLING for i in (1, 0)], dtype=np.uint8)
        for curve in curves:
            points, at = resample(curve, 0.4)
            if role == "stitch":
                points = points[(at % 3.2) < 2.0]
            stamp(fine, points - np.array(area[:2]), radius, 255)
        if lines[0].clip is not None:
            fine *= cells([self.view(lines[0].clip)], area)
        mask = shrink(fine)
        self._draw(self.canvas[_slices(area)], blur(mask, soften, 2) if soften else mask, role, strength)

    def _draw(self, target: np.ndarray, mask: UInt8[np.ndarray, "h w"], role: str, strength: float) -> None:
        cover = (mask.astype(_F) * _F(strength / 255))[:, :, None]
        if role in ("cord", "zip", "print"):
            tint = self.tint["second" if role == "print" else "metal" if role == "zip" else "light"]
            target *= _F(1) - _F(0.45) * blur(_moved(mask, 1, 1), 1, 2).astype(_F)[:, :, None] / _F(255)
            if role == "zip":
                teeth = np.arange(len(mask))[:, None, None] % 3 == 0
                tint = np.where(teeth, tint * _F(0.55), tint)
            target += (tint - target) * cover
            return
        if role == "quilt":
            target *= _F(1) - _F(0.4) * blur(mask, 3, 2).astype(_F)[:, :, None] / _F(110)
        if role == "stitch" and self.garment.cloth == "denim":
            target += (np.array(THREAD, dtype=_F) - target) * cover
            return
        dark = target[:, :, 1:2] < _F(92)
        ink = np.where(dark & (role != "fold"), target + _F(46), target * _F(0.62))
        target += (ink - target) * cover


def _slices(area: Window) -> tuple[slice, slice]:
    return slice(area[1], area[3]), slice(area[0], area[2])


def _moved(mask: UInt8[np.ndarray, "h w"], right: int, down: int) -> UInt8[np.ndarray, "h w"]:
    moved = np.zeros_like(mask)
    moved[down:, right:] = mask[:-down, :-right]
    return moved


def _colours(g: Garment) -> dict[str, tuple[float, ...]]:
    """Colour of every fabric name; the second colour always stands out from the main one."""
    main, second, trim = (COLOURS[i] for i in g.colours)
    if g.cloth == "denim":
        main = DENIM[g.colours[0] % len(DENIM)]
    if _difference(main, second) < 190:
        second = max(COLOURS, key=lambda c: (min(_difference(main, c), 300), c == second, -c[0], c[2]))
        second = LIGHT if sum(main) < 420 else (58, 62, 84) if g.seed % 2 else second
    if _difference(main, trim) < 120:
        trim = tuple(int(0.62 * c) if sum(main) > 330 else min(255, c + 90) for c in main)
    return {
        "main": main,
        "second": second,
        "trim": trim,
        "lining": tuple(int(0.8 * c + 0.2 * 150) for c in main),
        "light": LIGHT,
        "metal": METAL,
        "button": tuple(int(0.45 * c) for c in main) if sum(main) > 400 else (226, 218, 200),
    }


def _difference(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))
