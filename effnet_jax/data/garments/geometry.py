"""Curves, and how they become pixels.

Everything here is additions, multiplications, divisions and square roots, each correctly rounded, and every coordinate
is snapped to a fixed grid before it is filled: so the pictures are the same bits on every machine. Rotations are given
by the tangent of half their angle for that reason (no sine, whose last bit differs between C libraries).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageFilter

SIZE = 256  # pixels, both sides of every picture
OVERSAMPLING = 4  # sub-pixels per pixel, along each side
_GRID = 16  # steps per sub-pixel to which coordinates are snapped

Curve = Float[np.ndarray, "n 2"]


def line(*points: tuple[float, float]) -> Curve:
    """Straight pieces through the points."""
    return np.array(points, dtype=np.float64)


def arc(start: tuple[float, float], end: tuple[float, float], bulge: float, steps: int = 14) -> Curve:
    """Parabola from start to end.

    Args:
        start: first point.
        end: last point.
        bulge: height of the curve as a share of the chord; positive bends to the left of the direction of travel
            as seen with y pointing down.
        steps: number of straight pieces.
    """
    p, q = np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)
    chord = q - p
    middle = (p + q) / 2 + 2 * bulge * np.array([chord[1], -chord[0]])
    t = (np.arange(steps + 1) / steps)[:, None]
    return p * (1 - t) * (1 - t) + middle * (2 * t * (1 - t)) + q * t * t


def spline(*points: tuple[float, float], steps: int = 8) -> Curve:
    """Smooth curve through all points (Catmull-Rom with half of the usual tension at the ends)."""
    p = np.array(points, dtype=np.float64)
    if len(p) < 3:
        return p
    slope = np.empty_like(p)
    slope[1:-1] = (p[2:] - p[:-2]) / 2
    slope[0], slope[-1] = p[1] - p[0], p[-1] - p[-2]
    t = (np.arange(steps) / steps)[:, None]
    t2, t3 = t * t, t * t * t
    pieces = [
        p[i] * (2 * t3 - 3 * t2 + 1)
        + slope[i] * (t3 - 2 * t2 + t)
        + p[i + 1] * (3 * t2 - 2 * t3)
        + slope[i + 1] * (t3 - t2)
        for i in range(len(p) - 1)
    ]
    return np.concatenate([*pieces, p[-1:]])


def turn(points: Curve, half_tangent: float, about: tuple[float, float] = (0.0, 0.0)) -> Curve:
    """Rotation, clockwise on the picture, by the angle whose half has this tangent."""
    c, s = unit(half_tangent)
    x, y = points[:, 0] - about[0], points[:, 1] - about[1]
    return np.stack([about[0] + x * c - y * s, about[1] + x * s + y * c], axis=1)


def unit(half_tangent: float) -> tuple[float, float]:
    """Cosine and sine of the angle whose half has this tangent."""
    square = half_tangent * half_tangent
    return (1 - square) / (1 + square), 2 * half_tangent / (1 + square)


def circle(centre: tuple[float, float], radius: float, ratio: float = 1.0, steps: int = 6) -> Curve:
    """Closed ellipse (the last point is the first), height / width = ratio."""
    t = np.arange(steps) / steps
    quarter = np.stack([(1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)], axis=1)
    quarters = []
    for _ in range(4):
        quarters.append(quarter)
        quarter = np.stack([-quarter[:, 1], quarter[:, 0]], axis=1)
    ring = np.concatenate([*quarters, quarters[0][:1]])
    return ring * np.array([radius, radius * ratio]) + np.array(centre, dtype=np.float64)


def mirror(points: Curve) -> Curve:
    """The same curve on the wearer's other side."""
    return points * np.array([-1.0, 1.0])


def resample(points: Curve, spacing: float) -> tuple[Curve, Float[np.ndarray, " n"]]:
    """Points at equal distances along the curve, and their distance from its start."""
    step = points[1:] - points[:-1]
    along = np.concatenate([[0.0], np.cumsum(np.sqrt(step[:, 0] * step[:, 0] + step[:, 1] * step[:, 1]))])
    count = max(2, int(along[-1] / spacing) + 1)
    at = np.arange(count) * (along[-1] / (count - 1))
    return np.stack([np.interp(at, along, points[:, 0]), np.interp(at, along, points[:, 1])], axis=1), at


def fill(polygons: Sequence[Curve], size: int = SIZE) -> UInt8[np.ndarray, "size size"]:
    """Coverage, 0 to 255, of closed polygons under the even-odd rule; exact in integers."""
    side = size * OVERSAMPLING
    flips = np.zeros((side, side + 1), dtype=bool)
    starts, ends = [], []
    for polygon in polygons:
        snapped = np.rint(polygon * (OVERSAMPLING * _GRID)).astype(np.int64)
        starts.append(snapped)
        ends.append(np.concatenate([snapped[1:], snapped[:1]]))
    p, q = np.concatenate(starts), np.concatenate(ends)
    upper, lower = np.where((p[:, 1] <= q[:, 1])[:, None], p, q), np.where((p[:, 1] <= q[:, 1])[:, None], q, p)
    centre = _GRID // 2
    first = np.clip(-((centre - upper[:, 1]) // _GRID), 0, side)  # ceil((y - centre) / grid)
    last = np.clip(-((centre - lower[:, 1]) // _GRID), 0, side)
    counts = last - first
    edge = np.repeat(np.arange(len(p)), counts)
    if not len(edge):
        return np.zeros((size, size), dtype=np.uint8)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    rise = (lower - upper)[edge]
    x = upper[edge, 0] * rise[:, 1] + (row * _GRID + centre - upper[edge, 1]) * rise[:, 0]
    column = np.clip(-((centre * rise[:, 1] - x) // (_GRID * rise[:, 1])), 0, side)
    cells, times = np.unique(row * (side + 1) + column, return_counts=True)
    flips.ravel()[cells[times % 2 == 1]] = True
    top, bottom = int(row.min()) // OVERSAMPLING, -(-(int(row.max()) + 1) // OVERSAMPLING)
    band = np.logical_xor.accumulate(flips[top * OVERSAMPLING : bottom * OVERSAMPLING], axis=1)[:, :-1]
    coverage = np.zeros((size, size), dtype=np.uint8)
    coverage[top:bottom] = shrink(band.view(np.uint8), 255)
    return coverage


def shrink(band: UInt8[np.ndarray, "h w"], scale: int = 1) -> UInt8[np.ndarray, "i j"]:
    """Mean over blocks of sub-pixels, times scale, rounded."""
    k = OVERSAMPLING
    rows = band[0::k].astype(np.uint16)
    for i in range(1, k):
        rows += band[i::k]
    total = rows[:, 0::k].astype(np.uint32)
    for i in range(1, k):
        total += rows[:, i::k]
    return ((total * scale + k * k // 2) // (k * k)).astype(np.uint8)


def stamp(
    canvas: UInt8[np.ndarray, "h w"], points: Curve, radius: Float[np.ndarray, " n"] | float, level: int = 255
) -> None:
    """Draw discs onto an oversampled canvas, in place.

    Args:
        canvas: OVERSAMPLING times as fine as the picture.
        points: centres in pixels.
        radius: in pixels.
        level: what a disc's cells become, unless they are more already.
    """
    side = canvas.shape[0]
    at = np.rint(points * OVERSAMPLING).astype(np.int64)
    sizes = np.broadcast_to(np.maximum(np.rint(np.asarray(radius) * (2 * OVERSAMPLING)).astype(np.int64), 1), len(at))
    flat = canvas.ravel()
    for size in np.unique(sizes):
        offsets = _disc(int(size))
        cells = (at[sizes == size][:, None, :] + offsets[None]).reshape(-1, 2)
        cells = cells[((cells >= 0) & (cells < side)).all(axis=1)]
        index = cells[:, 1] * side + cells[:, 0]
        flat[index] = np.maximum(flat[index], level)


def _disc(diameter: int) -> Int[np.ndarray, "k 2"]:
    reach = np.arange(-(diameter // 2) - 1, diameter // 2 + 2)
    x, y = np.meshgrid(reach, reach)
    inside = 4 * (x * x + y * y) <= diameter * diameter
    return np.stack([x[inside], y[inside]], axis=1)


def blur(mask: UInt8[np.ndarray, "h w"], radius: int, times: int = 2) -> UInt8[np.ndarray, "h w"]:
    """Box blur of whole radius, repeated."""
    return np.asarray(Image.fromarray(mask).filter(ImageFilter.BoxBlur(radius)) if times == 1 else _blur(mask, radius, times))


def _blur(mask: UInt8[np.ndarray, "h w"], radius: int, times: int) -> Image.Image:
    picture = Image.fromarray(mask)
    for _ in range(times):
        picture = picture.filter(ImageFilter.BoxBlur(radius))
    return picture


def noise(rng: np.random.Generator, cells: tuple[int, int], size: int = SIZE) -> Float[np.ndarray, "size size"]:
    """Smooth noise between -1 and 1 on a lattice of (rows, columns) cells."""
    lattice = rng.integers(0, 256, size=cells, dtype=np.uint8)
    picture = Image.fromarray(lattice).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture).astype(np.float32) / np.float32(127.5) - np.float32(1)


def wander(rng: np.random.Generator, at: Float[np.ndarray, " n"], wavelength: float) -> Float[np.ndarray, " n"]:
    """Smooth noise between about -1 and 1 along a line."""
    position = at / wavelength
    count = int(position[-1]) + 4 if len(position) else 4
    knots = rng.random(count) * 2 - 1
    cell = np.floor(position).astype(np.int64)
    t = position - cell
    t = t * t * (3 - 2 * t)
    return knots[cell] * (1 - t) + knots[cell + 1] * t
