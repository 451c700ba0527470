"""Body, neckline and sleeves: everything that hangs from the shoulders."""

from itertools import pairwise

import numpy as np

from tfds_builders.procedural_garments.garments.drawing import Drawing
from tfds_builders.procedural_garments.garments.geometry import (
    Curve,
    Point,
    across,
    arc,
    circle,
    line,
    mirror,
    spline,
    unit,
)
from tfds_builders.procedural_garments.garments.parameters import Garment

STRAP_TOP = 13.0  # cm below the shoulder at which a bodice on straps begins
BARE = ("strap", "halter")
SLANT = 0.25  # how far a slanting hem rises and falls, share of its half width


def arm_depth(g: Garment) -> float:
    """Height of the underarm point below the shoulder, cm."""
    return {"dolman": 34.0, "none": 23.0, "cap": 22.0}.get(g.sleeve, 21.0 + 0.15 * g.sleeve_width)


def neckline(g: Garment) -> list[Curve]:
    """The front neck edge from left to right."""
    n, deep = g.neck, g.depth
    if g.sleeve == "strap":
        n, low = 0.62 * g.chest, STRAP_TOP + 0.25 * g.depth
        return [spline((-n, STRAP_TOP), (-0.5 * n, STRAP_TOP + 0.5), (0, low)),
                spline((0, low), (0.5 * n, STRAP_TOP + 0.5), (n, STRAP_TOP))]  # fmt: skip
    if g.neckline == "v":
        return [arc((-n, 0), (0, deep + 3), 0.04), arc((0, deep + 3), (n, 0), 0.04)]
    if g.neckline == "square":
        left, right = (-n * 0.92, deep), (n * 0.92, deep)
        return [line((-n, 0), left), line(left, right), line(right, (n, 0))]
    if g.neckline == "sweetheart":
        return [spline((-n, 0), (-n * 0.98, deep * 0.55), (-n * 0.5, deep * 0.72), (0, deep + 2)),
                spline((0, deep + 2), (n * 0.5, deep * 0.72), (n * 0.98, deep * 0.55), (n, 0))]  # fmt: skip
    if g.neckline == "boat":
        return [across(n, 0, -0.22)]
    ring = circle((0, 0), n, (deep if g.neckline == "scoop" else 0.75 * min(deep, 10)) / n, steps=8)
    return [ring[: len(ring) // 2 + 1][::-1]]


def hem_edge(style: str, half: float, y: float) -> Curve:
    """The lower edge from right to left."""
    if style == "curved":
        return spline((half, y - 7), (half * 0.75, y - 2), (half * 0.3, y + 1), (-half * 0.3, y + 1),
                      (-half * 0.75, y - 2), (-half, y - 7))  # fmt: skip
    if style == "dip":
        return across(-half, y, -0.22)
    if style == "slant":
        return arc((half, y - SLANT * half), (-half, y + SLANT * half), 0.03)
    if style == "zigzag":
        return line((half, y), (half * 0.5, y - 0.3 * half), (0, y), (-half * 0.5, y - 0.3 * half), (-half, y))
    return across(-half, y, 0.035)


def torso(d: Drawing, g: Garment, bottom: float, half: float) -> Curve:
    """Draw sleeves, inside of the neck and the body.

    Args:
        d: gets the pieces.
        g: the garment.
        bottom: height of the lower edge, cm below the shoulder.
        half: half width there, cm.

    Returns:
        The outline of the body.
    """
    front = neckline(g)
    n = float(front[-1][-1, 0])
    under = (g.chest, min(arm_depth(g), bottom - 8))
    slope = 0.24 * (g.shoulder - g.neck)
    tip = (g.shoulder, slope) if g.sleeve not in ("none", "cap") else (max(g.shoulder - 3, n + 3), slope)
    if g.sleeve == "halter":
        tip = (n + 2.5, 1.0)
        d.part([across(n + 2.5, 1, 0.3), across(-n, 2.5, -0.3)], tone=0.8, lift=0.15)
    if g.sleeve not in BARE:
        edges = [across(n, 0, -0.12), np.concatenate(front)[::-1]]
        d.part(edges, hidden=(1,), fabric="lining", tone=0.78, lift=0)
    if g.sleeve == "strap":
        top = (0.5 * n + 2, 0.0)
        d.part([line((n - 2.4, STRAP_TOP + 1), top), line((top[0] + 2.2, top[1]), (n, STRAP_TOP + 1))], both=True)
        shoulder = line((n, STRAP_TOP), (n, STRAP_TOP + 0.1))
        armhole = arc((n, STRAP_TOP), under, -0.12)
    else:
        shoulder = line((n, 0), tip)
        armhole = arc(tip, under, 0.14 if g.sleeve in ("none", "halter", "cap") else 0.09)
    if g.sleeve == "raglan":
        shoulder, armhole = line((n, 0), (n + 0.2, 0.4)), arc((n + 0.2, 0.4), under, 0.06)
    if g.sleeve not in ("none", *BARE):
        _sleeve(d, g, (n, 0) if g.sleeve == "raglan" else None, tip, under)
    side = _side(g, under, bottom, half)
    hem = hem_edge(g.hem_style, float(side[-1, 0]), float(side[-1, 1]) + (7 if g.hem_style == "curved" else 0))
    left = mirror(side)
    if g.hem_style == "slant":
        side, left = cut_slanting(side, half, bottom, hem)
    edges = [*front, shoulder, armhole, side, hem, left[::-1], mirror(armhole)[::-1], mirror(shoulder)[::-1]]
    body = d.part(edges)
    tailored = g.cloth == "smooth" and g.kind in ("dress", "jacket", "coat", "jumpsuit")
    if tailored and bottom > 34 and g.waist < g.chest - 2:
        waist = (0.42 * g.waist, min(g.rise, bottom))
        d.line(spline((0.5 * g.chest, under[1] + 6), waist, (0.5 * half, bottom - 2)), both=True)
    return body


def _side(g: Garment, under: tuple[float, float], bottom: float, half: float) -> Curve:
    if bottom < g.rise + 6:
        return spline(under, ((g.chest + 2 * half) / 3 - 0.4, (under[1] + 2 * bottom) / 3), (half, bottom))
    points = [under, (g.waist, g.rise)]
    if bottom > g.rise + 28:
        points.append((g.hip, g.rise + 20))
    return spline(*points, (half, bottom - 7 if g.hem_style == "curved" else bottom))


def cut_slanting(side: Curve, half: float, bottom: float, hem: Curve) -> tuple[Curve, Curve]:
    """Right and left side of a body or skirt whose hem runs down from right to left."""
    right = np.concatenate([side[side[:, 1] < bottom - SLANT * half], hem[:1]])
    return right, np.concatenate([mirror(side)[:-1], hem[-1:]])


def _sleeve(d: Drawing, g: Garment, collar: Point | None, shoulder: Point, under: Point) -> None:
    """Both sleeves with their cuffs; drawn before the body, which covers their roots."""
    c, s = unit(g.spread + (0.12 if g.sleeve_length < 30 else 0.0))
    along, out = np.array([s, c]), np.array([c, -s])
    length = g.sleeve_length
    tip, root = np.array(shoulder), np.array(under)
    outer = tip + along * length
    inner = outer - out * 2 * g.sleeve_width
    puff = {"puff": 5.5, "bishop": 2.0, "bell": -0.4}.get(g.sleeve, 0.8)
    first = tip + along * 0.22 * length + out * puff
    second = tip + along * 0.6 * length + out * (0.6 * puff if g.sleeve != "bishop" else 6.0)
    if g.sleeve == "bell":
        outer = outer + out * 0.35 * g.sleeve_width
        second = tip + along * 0.5 * length - out * 1.2
    middle = 0.45 * inner + 0.55 * root
    low = middle + (out * 2.5 if g.sleeve == "bell" else -out * (6.0 if g.sleeve == "bishop" else 0.5 * max(puff, 0)))
    edges = [spline(tip, first, second, outer), arc(outer, inner, 0.06), spline(inner, low, root)]
    edges = [*edges, arc(root, tip, -0.05)] if collar is None else [line(collar, tip), *edges, line(root, collar)]
    colour = "second" if g.panel == "sleeves" else "main"
    outline = d.part(edges, hidden=(len(edges) - 1,), fabric=colour, tone=0.96, axis=-g.spread, both=True)
    if length > 40:
        elbow = root + (inner - root) * 0.45
        for shift in (0.0, 4.0):
            start = elbow + along * shift
            d.line(arc(start, start + out * 7 + along * 2.5, 0.1), "fold", clip=outline, both=True)
    if g.sleeve in ("puff", "bishop"):
        for share in (0.2, 0.5, 0.8):
            end = outer + (inner - outer) * share
            d.line(arc(end, end - along * 6 + out * (0.5 - share) * 5, 0.08), "fold", both=True)
            if g.sleeve == "puff":
                start = tip + (root - tip) * (share * 0.5)
                d.line(arc(start, start + along * 5 + out * 2, 0.08), "fold", both=True)
    _cuff(d, g, outer, inner, along, out)


def _cuff(d: Drawing, g: Garment, outer: np.ndarray, inner: np.ndarray, along: np.ndarray, out: np.ndarray) -> None:
    if g.cuff == "plain":
        offset = along * -2.0
        d.line(arc(outer + offset, inner + offset, 0.06), "stitch", both=True)
        return
    height = {"band": 5.0, "rib": 5.5, "rolled": 5.0, "frill": 6.0}[g.cuff] * (0.7 if g.sleeve_length < 30 else 1.0)
    grow = {"band": 0.3, "rib": -0.6, "rolled": 1.0, "frill": 3.0}[g.cuff]
    a, b = outer + out * max(grow, 0.2) * 0.5, inner - out * max(grow, 0.2) * 0.5
    p, q = outer + along * height + out * grow, inner + along * height - out * grow
    if g.cuff == "rolled":
        a, b, p, q = (corner - along * height for corner in (a, b, p, q))
    fabric = {"rib": "trim" if g.panel != "none" else "main", "rolled": "lining"}.get(g.cuff, "main")
    low = frill_edge(p, q, 4) if g.cuff == "frill" else arc(p, q, 0.07)
    d.part([line(a, p), low, line(q, b), arc(b, a, -0.07)], fabric=fabric, axis=-g.spread, tone=0.97, both=True)
    if g.cuff in ("rib", "frill"):
        for k in range(1, 6):
            start, end = a + (b - a) * (k / 6), p + (q - p) * (k / 6)
            d.line(line(start, start + (end - start) * 0.85), "rib" if g.cuff == "rib" else "fold", both=True)
    elif g.cuff == "band" and g.sleeve_length > 30:
        centre = (a + b) / 2 + along * height * 0.5 + out * 0.45 * g.sleeve_width
        d.part([circle(centre, 0.9)], fabric="button", both=True)


def frill_edge(start: Point, end: Point, waves: int) -> Curve:
    """A wavy edge."""
    first, step = np.array(start), np.array(end) - np.array(start)
    points = [first + step * (k / waves) for k in range(waves + 1)]
    return np.concatenate([arc(a, b, 0.2, 6) for a, b in pairwise(points)])
