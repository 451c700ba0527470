"""Shapes of prints and patterns."""

import numpy as np

from tfds_builders.procedural_garments.garments.geometry import Curve, arc, circle, line, mirror, spline


def turned(points: Curve, eighths: int) -> Curve:
    """Turn by a number of eighths of a circle."""
    half = 0.7071067811865476  # cosine of 45 degrees
    for _ in range(eighths):
        points = np.stack([(points[:, 0] - points[:, 1]) * half, (points[:, 0] + points[:, 1]) * half], axis=1)
    return points


def motif(name: str, r: float) -> Curve:
    """A closed shape of radius r about the origin.

    Args:
        name: heart, star, sun, dot, bolt, mountain, diamond, flower, leaf or triangle.
        r: distance from the origin to its furthest point, about.
    """
    if name == "heart":
        right = spline((0, -0.45), (0.5, -0.9), (0.98, -0.4), (0.6, 0.3), (0, 0.95))
        return np.concatenate([right, mirror(right)[::-1]]) * r
    if name == "star":
        outer = [(0, -1), (0.95, -0.31), (0.59, 0.81), (-0.59, 0.81), (-0.95, -0.31)]
        inner = [(0.24, -0.32), (0.38, 0.12), (0, 0.4), (-0.38, 0.12), (-0.24, -0.32)]
        points = [p for pair in zip(outer, inner, strict=True) for p in pair]
        return line(*points, (0, -1)) * r
    shapes = {
        "bolt": [(0.25, -1), (-0.5, 0.15), (-0.05, 0.15), (-0.25, 1), (0.5, -0.2), (0.05, -0.2), (0.25, -1)],
        "mountain": [(-1, 0.7), (-0.35, -0.5), (0, 0.05), (0.35, -0.8), (1, 0.7), (-1, 0.7)],
        "diamond": [(0, -1), (0.62, 0), (0, 1), (-0.62, 0), (0, -1)],
        "triangle": [(0, -0.8), (0.8, 0.6), (-0.8, 0.6), (0, -0.8)],
    }
    if name in shapes:
        return line(*shapes[name]) * r
    if name == "flower":
        petal = spline((0.1, -0.24), (0.42, -0.85), (0, -1), (-0.42, -0.85), (-0.1, -0.24))
        return np.concatenate([turned(petal, k) for k in (0, 2, 4, 6)] + [petal[:1]]) * r
    if name == "leaf":
        return np.concatenate([arc((0, -1), (0, 1), -0.24), arc((0, 1), (0, -1), -0.24)]) * r
    return circle((0, 0), r * (0.62 if name == "sun" else 1.0))
