"""Curves, and how they become pixels.

Everything here is additions, multiplications, divisions and square roots, each correctly rounded, and every coordinate
is snapped to a fixed grid before it is filled: so the pictures are the same bits on every machine. Rotations are given
by the tangent of half their angle for that reason (no sine, whose last bit differs between C libraries).
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageFilter

SIZE = 256  # pixels, both sides of every picture
OVERSAMPLING = 3  # sub-pixels per pixel, along each side
_GRID = 16  # steps per sub-pixel to which coordinates are snapped

Point = tuple[float, float] | Float[np.ndarray, "2"]
Curve = Float[np.ndarray, "_ 2"]
Window = tuple[int, int, int, int]
WHOLE: Window = (0, 0, SIZE, SIZE)


def line(*points: Point) -> Curve:
    """Straight pieces through the points."""
    return np.array(points, dtype=np.float64)


def polygon(*points: Point, corners: Sequence[int] = ()) -> list[Curve]:
    """Straight pieces once around, back to the first point; a new edge begins there and at these other points."""
    closed = line(*points, points[0])
    return [closed[start : end + 1] for start, end in pairwise((0, *corners, len(points)))]


def arc(start: Point, end: Point, bulge: float, steps: int = 14) -> Curve:
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


def across(half: float, y: float, bulge: float) -> Curve:
    """Parabola over the middle line at height y, from -half to half (from right to left where half is below 0)."""
    return arc((-half, y), (half, y), bulge)


def band(half: float, y: float, bulge: float, low: Curve, *, side: float = 0.0) -> list[Curve]:
    """The four edges of a piece on both sides of the middle line.

    Args:
        half: half width of the upper edge.
        y: height of the upper edge.
        bulge: of the upper edge.
        low: lower edge, from right to left.
        side: bulge of the sides; 0: they are straight.
    """

    def along(start: Point, end: Point) -> Curve:
        return arc(start, end, side) if side else line(start, end)

    return [across(half, y, bulge), along((half, y), low[0]), low, along(low[-1], (-half, y))]


def spline(*points: Point, steps: int = 8) -> Curve:
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


def turn(points: Curve, half_tangent: float, about: Point = (0.0, 0.0)) -> Curve:
    """Rotation, clockwise on the picture, by the angle whose half has this tangent."""
    c, s = unit(half_tangent)
    x, y = points[:, 0] - about[0], points[:, 1] - about[1]
    return np.stack([about[0] + x * c - y * s, about[1] + x * s + y * c], axis=1)


def unit(half_tangent: float) -> tuple[float, float]:
    """Cosine and sine of the angle whose half has this tangent."""
    square = half_tangent * half_tangent
    return (1 - square) / (1 + square), 2 * half_tangent / (1 + square)


def circle(centre: Point, radius: float, ratio: float = 1.0, steps: int = 6) -> Curve:
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


def window(points: Curve, margin: int) -> Window:
    """Whole pixels (x0, y0, x1, y1) around points, cut at the picture's border; never empty."""
    low = np.clip(np.floor(points.min(axis=0)).astype(np.int64) - margin, 0, SIZE - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(np.int64) + margin, low + 1, SIZE)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def cells(polygons: Sequence[Curve], part: Window = WHOLE) -> Bool[np.ndarray, "h w"]:
    """Sub-pixels of a part of the picture that lie in closed polygons by the even-odd rule; exact in integers."""
    x0, y0, x1, y1 = (v * OVERSAMPLING for v in part)
    snapped = [np.rint(polygon * (OVERSAMPLING * _GRID)).astype(np.int64) for polygon in polygons]
    p = np.concatenate(snapped)
    q = np.concatenate([points[_next(len(points))] for points in snapped])
    down = (p[:, 1] <= q[:, 1])[:, None]
    upper, lower = np.where(down, p, q), np.where(down, q, p)
    half = _GRID // 2
    first = np.clip(-((half - upper[:, 1]) // _GRID), y0, y1)  # the first row centre at or below a point
    last = np.clip(-((half - lower[:, 1]) // _GRID), y0, y1)
    counts = last - first
    edge = np.repeat(np.arange(len(p)), counts)
    inside = np.zeros((y1 - y0, x1 - x0), dtype=bool)
    if not len(edge):
        return inside
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    rise = (lower - upper)[edge]
    x = upper[edge, 0] * rise[:, 1] + (row * _GRID + half - upper[edge, 1]) * rise[:, 0]
    column = np.clip(-((half * rise[:, 1] - x) // (_GRID * rise[:, 1])), x0, x1)
    top, left = int(row.min()), int(column.min())
    high, wide = int(row.max()) + 1 - top, int(column.max()) + 1 - left
    flips = np.bincount((row - top) * wide + column - left, minlength=high * wide).astype(np.uint8).reshape(high, wide)
    crossed = np.add.accumulate(flips, axis=1, dtype=np.uint8)[:, : x1 - left] & 1
    inside[top - y0 : top - y0 + high, left - x0 : left - x0 + crossed.shape[1]] = crossed.view(bool)
    return inside


@cache
def _next(count: int) -> Int[np.ndarray, " n"]:
    return np.concatenate([np.arange(1, count), np.zeros(1, dtype=np.int64)])


def fill(polygons: Sequence[Curve], part: Window = WHOLE) -> UInt8[np.ndarray, "h w"]:
    """Coverage, 0 to 255, of the pixels of a part of the picture by closed polygons."""
    return shrink(cells(polygons, part).view(np.uint8), 255)


def shrink(fine: UInt8[np.ndarray, "h w"], scale: int = 1) -> UInt8[np.ndarray, "i j"]:
    """Mean over blocks of sub-pixels, times scale, rounded."""
    k = OVERSAMPLING
    total = np.asarray(sum(fine[i::k, j::k].astype(np.uint32) for i in range(k) for j in range(k)))
    return ((total * scale + k * k // 2) // (k * k)).astype(np.uint8)


def stamp(
    canvas: UInt8[np.ndarray, "h w"], points: Curve, radius: Float[np.ndarray, " n"] | float, level: int = 255
) -> None:
    """Draw discs onto an oversampled canvas, in place; discs that would leave it are left out.

    Args:
        canvas: OVERSAMPLING times as fine as the picture.
        points: centres in pixels from the canvas' corner.
        radius: in pixels.
        level: what a disc's cells become, unless they are more already.
    """
    height, width = canvas.shape
    at = np.rint(points * OVERSAMPLING).astype(np.int64)
    sizes = np.maximum(np.rint(np.broadcast_to(radius, len(at)) * (2 * OVERSAMPLING)).astype(np.int64), 1)
    margin = int(sizes.max(initial=1)) // 2 + 2
    x, y = at[:, 0], at[:, 1]
    inside = (x >= margin) & (y >= margin) & (x < width - margin) & (y < height - margin)
    start, sizes = (y * width + x)[inside], sizes[inside]
    flat = canvas.ravel()
    for size in np.flatnonzero(np.bincount(sizes)):
        offsets = _disc(int(size))
        index = (start[sizes == size][:, None] + (offsets[:, 1] * width + offsets[:, 0])[None]).ravel()
        flat[index] = np.maximum(flat[index], level)


@cache
def _disc(diameter: int) -> Int[np.ndarray, "k 2"]:
    reach = np.arange(-(diameter // 2) - 1, diameter // 2 + 2)
    x, y = np.meshgrid(reach, reach)
    inside = 4 * (x * x + y * y) <= diameter * diameter
    return np.stack([x[inside], y[inside]], axis=1)


def blur(mask: UInt8[np.ndarray, "h w"], radius: int, times: int = 2) -> UInt8[np.ndarray, "h w"]:
    """Box blur of whole radius, repeated."""
    picture = Image.fromarray(mask)
    for _ in range(times):
        picture = picture.filter(ImageFilter.BoxBlur(radius))
    return np.asarray(picture)


def noise(rng: np.random.Generator, cells: tuple[int, int]) -> Float[np.ndarray, "256 256"]:
    """Smooth noise between -1 and 1 on a lattice of (rows, columns) cells."""
    lattice = rng.integers(0, 256, size=cells, dtype=np.uint8)
    picture = Image.fromarray(lattice).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return np.asarray(picture).astype(np.float32) / np.float32(127.5) - np.float32(1)


def wander(
    rng: np.random.Generator, at: Float[np.ndarray, " n"], wavelength: float, channels: int = 1
) -> Float[np.ndarray, "n c"]:
    """Smooth noise between -1 and 1 along a line, each channel its own."""
    position = at / wavelength
    knots = rng.random((int(position[-1]) + 3, channels)) * 2 - 1
    cell = position.astype(np.int64)
    t = (position - cell)[:, None]
    t = t * t * (3 - 2 * t)
    here = knots[cell]
    return here + (knots[cell + 1] - here) * t
