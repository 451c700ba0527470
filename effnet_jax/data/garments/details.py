"""Collars, closures, pockets, belts, panels and prints: what near-duplicates differ in."""

import numpy as np

from effnet_jax.data.garments.drawing import Drawing
from effnet_jax.data.garments.geometry import Curve, arc, circle, line, mirror, spline
from effnet_jax.data.garments.parameters import Garment


def collar(d: Drawing, g: Garment) -> None:
    """Draw the collar over body and neckline."""
    n, deep = g.neck, g.depth + (3 if g.neckline == "v" else 0)
    if g.collar in ("shirt", "round"):
        end = (0.4, min(deep, 12.0) if g.closure == "none" else deep)
        back, outer, tip = (n - 1.2, -3.2), (n + 2.2, 1.2), (0.55 * n + 3.2, end[1] + 5.5)
        rim = line(outer, tip, end) if g.collar == "shirt" else spline(outer, (n + 2.0, 0.7 * end[1]), tip, end)
        d.part([arc((-back[0], -3.2), back, -0.08), arc(back, (-back[0], -3.2), -0.2)], fabric="lining", tone=0.85)
        fabric = "trim" if g.panel == "yoke" else "main"
        d.part([arc(back, outer, 0.1), rim, arc(end, back, -0.05)], fabric=fabric, axis=0.25, both=True, lift=0.5)
    elif g.collar in ("stand", "turtle"):
        high = 5.0 if g.collar == "stand" else 10.0
        low, top = (n + 1.0, 1.0), (n - 1.2, -high)
        d.part([arc((-top[0], -high), top, 0.05), arc(top, (-top[0], -high), 0.12)], fabric="lining", tone=0.7)
        edges = [arc((-top[0], -high), top, -0.1), line(top, low), arc(low, (-low[0], 1.0), 0.3), line((-low[0], 1.0), (-top[0], -high))]
        outline = d.part(edges, lift=0.45)
        if g.collar == "turtle":
            d.line(arc((-n, -0.4 * high), (n, -0.4 * high), -0.14), "seam")
            for k in range(-4, 5):
                d.line(line((k * n / 5, -high + 1.5), (k * n / 5, 5)), "rib", clip=outline)
        elif g.closure != "none":
            d.line(line((0, -high), (0, 6)), "edge", clip=outline)
    elif g.collar in ("notch", "shawl"):
        _lapels(d, g, n, deep)
    elif g.collar == "hood":
        _hood(d, g, n, deep)
    elif g.collar == "bow":
        _bow(d, (0.0, 0.55 * min(deep, 11)), 1.0)
    elif g.neckline in ("crew", "scoop", "v", "boat") and g.cloth in ("knit", "cable") and g.closure == "none":
        _neckband(d, g, n, deep)
    if g.neckline == "keyhole" and g.collar in ("none", "round"):
        y = 0.75 * min(deep, 10)
        d.part([circle((0, y + 5.0), 2.2, 1.7)], fabric="lining", tone=0.6, lift=0)
        d.part([circle((0, y + 0.4), 0.9)], fabric="button")


def _neckband(d: Drawing, g: Garment, n: float, deep: float) -> None:
    if g.neckline == "v":
        d.line(line((-n - 2.6, 0.6), (0, deep + 3.4), (n + 2.6, 0.6)), "seam")
    else:
        low = {"crew": 0.75 * min(g.depth, 10), "scoop": g.depth, "boat": 0.44 * n}[g.neckline]
        ring = circle((0, 0.3), n + 2.6, (low + 2.8) / (n + 2.6), steps=8)
        d.line(ring[: len(ring) // 2 + 1], "seam")


def _lapels(d: Drawing, g: Garment, n: float, deep: float) -> None:
    back, start, end = (n - 1.5, -4.0), (n + 2.6, 0.8), (0.0, deep)
    wide = 5.5 + 0.12 * deep
    d.part([arc((-back[0], -4), back, 0.06), arc(back, (-back[0], -4), -0.16)], tone=0.9)
    if g.collar == "shawl":
        rim = spline(start, (n + wide - 1, 0.35 * deep), (0.62 * (n + wide), 0.7 * deep), end)
        d.part([arc(back, start, 0.1), rim, arc(end, back, -0.05)], fabric="main", tone=1.05, axis=0.2, both=True, lift=0.6)
        return
    notch, inner = (n + 0.55 * wide, 0.36 * deep + 1), (n + 0.1 * wide, 0.3 * deep + 2)
    point, corner = (n + wide + 1, 0.36 * deep), (n + 0.75 * wide, 0.26 * deep)
    d.part([line((n - 1, 0.1 * deep), inner, notch, point), arc(point, end, 0.05), arc(end, (n - 1, 0.1 * deep), -0.02)],
           tone=1.04, axis=0.2, both=True, lift=0.6)  # fmt: skip
    d.part([arc(back, start, 0.1), line(start, corner, notch, inner), arc(inner, back, -0.04)], tone=0.98, axis=-0.2, both=True, lift=0.5)


def _hood(d: Drawing, g: Garment, n: float, deep: float) -> None:
    w = n + 5.0
    outer = spline((-w, 3.0), (-w - 1.5, -9), (-0.55 * w, -22), (0, -25), (0.55 * w, -22), (w + 1.5, -9), (w, 3.0))
    d.part([outer, arc((w, 3.0), (-w, 3.0), 0.3)], lift=0.4)
    inner = spline((0, deep), (n - 0.5, 0), (n - 0.5, -10), (0, -20), (-n + 0.5, -10), (-n + 0.5, 0), (0, deep))
    d.part([inner], fabric="lining", tone=0.62, lift=0)
    d.line(arc((0, -19), (0, -2), -0.04), "seam")
    for side in (-1, 1):
        start = (side * 0.5 * n, 0.45 * deep)
        d.part([circle(start, 0.7)], fabric="metal", lift=0)
        d.line(arc(start, (side * (0.5 * n + 1.5), 0.45 * deep + 15), -0.05 * side), "cord")


def _bow(d: Drawing, at: tuple[float, float], size: float) -> None:
    x, y = at
    tail = [line((x + 0.5, y), (x + 5 * size, y + 17 * size), (x + 8.5 * size, y + 14.5 * size)),
            line((x + 8.5 * size, y + 14.5 * size), (x + 1.5, y))]  # fmt: skip
    d.part(tail, fabric="trim", both=True)
    loop = spline((x, y), (x + 6 * size, y - 4.5 * size), (x + 9.5 * size, y - 0.5), (x + 6 * size, y + 3.6 * size), (x, y))
    d.part([loop], fabric="trim", both=True, lift=0.4)
    d.part([circle((x, y), 1.7 * size, 1.15)], fabric="trim", lift=0.5)


def closure(d: Drawing, g: Garment, top: float, bottom: float, body: Curve) -> None:
    """Draw what closes the front, from height top down to bottom."""
    span = bottom - top
    if g.closure in ("buttons", "placket"):
        end = bottom if g.closure == "buttons" else top + min(20.0, 0.4 * span)
        d.line(line((1.9, top - 2), (1.9, end + 6 if g.closure == "buttons" else end)), "edge", clip=body)
        if g.closure == "placket":
            d.line(line((-1.9, top), (-1.9, end), (1.9, end)), "edge", clip=body)
        count = g.buttons if g.closure == "buttons" else 3
        for k in range(count):
            y = top + 2 + (end - top - 4) * (k + 0.5) / count
            d.part([circle((0, y), 1.25)], fabric="button", lift=0.4)
    elif g.closure == "double":
        d.line(arc((-2, top - 2), (-7.8, top + 4), 0.1), "edge", clip=body)
        d.line(line((-7.8, top + 4), (-7.8, bottom + 6)), "edge", clip=body)
        rows = max(2, min(g.buttons, 4))
        reach = min(span, 48.0)
        for k in range(rows):
            y = top + 4 + (reach - 6) * k / rows
            for x in (-5.2, 5.2):
                d.part([circle((x, y), 1.45)], fabric="button", lift=0.4)
    elif g.closure == "zip":
        d.line(line((0, top - 1), (0, bottom + 6)), "zip", clip=body)
        d.part([line((-0.7, top + 1), (0.7, top + 1), (0.9, top + 5), (-0.9, top + 5))], fabric="metal", lift=0.4)
    elif g.closure == "biker":
        d.line(line((7.5, top + 1), (-3.5, bottom + 6)), "zip", clip=body)
        d.part([line((0.5, top), (11, top + 2), (7.5, top + 15)), line((7.5, top + 15), (0.5, top))], lift=0.6)
    elif g.closure == "wrap":
        reach = min(span, 34.0)
        d.line(arc((-0.5 * g.neck, top - 5), (0.8 * g.waist, top + reach), -0.08), "edge", clip=body)
        if g.belt == "none":
            _bow(d, (0.66 * g.waist, top + reach * 0.86), 0.6)
    elif g.closure == "toggles":
        d.line(line((3.0, top - 2), (3.0, bottom + 6)), "edge", clip=body)
        for k in range(4):
            y = top + 4 + min(span - 8, 52) * k / 4
            d.line(line((-6.5, y), (6.5, y)), "cord")
            d.part([circle((0, y), 2.4, 0.42)], fabric="button", lift=0.5)
    elif g.closure == "lace":
        reach = min(span, 20.0)
        for k in range(4):
            y = top + reach * k / 4
            d.line(line((-2.6, y), (2.6, y + reach / 4)), "cord", both=True)
        d.line(arc((0, top + reach), (5, top + reach + 7), 0.15), "cord", both=True)


def pockets(d: Drawing, g: Garment, style: str, x: float, y: float, body: Curve | None = None) -> None:
    """Draw pockets around (x, y) and its mirror image; a chest pocket only on the right of the picture."""
    if style == "chest":
        w, h = 4.6, 10.0
        d.part([line((x - w, y), (x + w, y)), line((x + w, y), (x + w, y + h - 2), (x, y + h), (x - w, y + h - 2), (x - w, y))])
        d.line(line((x - w, y + 2), (x + w, y + 2)), "stitch")
    elif style == "patch":
        w, h = 6.6, 14.0
        d.part([line((x - w, y), (x + w, y)), spline((x + w, y), (x + w, y + 0.7 * h), (x + w - 2.5, y + h)),
                line((x + w - 2.5, y + h), (x - w + 2.5, y + h)), spline((x - w + 2.5, y + h), (x - w, y + 0.7 * h), (x - w, y))],
               both=True)  # fmt: skip
        d.line(line((x - w, y + 2.6), (x + w, y + 2.6)), "stitch", both=True)
    elif style == "welt":
        d.part([line((x + 3.0, y), (x - 2.5, y + 13), (x + 0.3, y + 14), (x + 5.8, y + 1)), line((x + 5.8, y + 1), (x + 3.0, y))],
               tone=0.9, both=True)  # fmt: skip
    elif style in ("flap", "cargo"):
        w, h = (6.4, 15.0) if style == "cargo" else (6.4, 0.0)
        if h:
            d.part([line((x - w, y + 1), (x - w, y + h), (x + w, y + h), (x + w, y + 1)), line((x + w, y + 1), (x - w, y + 1))], both=True)
        d.part([line((x - w - 0.5, y), (x + w + 0.5, y)), line((x + w + 0.5, y), (x + w, y + 4.5), (x, y + 6), (x - w, y + 4.5)),
                line((x - w, y + 4.5), (x - w - 0.5, y))], both=True, lift=0.5)  # fmt: skip
        d.part([circle((x, y + 3.6), 0.9)], fabric="button", both=True)
    elif style == "kangaroo":
        w = 0.62 * g.waist
        sides = arc((0.62 * w, y), (w, y + 12), -0.1)
        edges = [line((-0.62 * w, y), (0.62 * w, y)), sides, line((w, y + 12), (w, y + 17), (-w, y + 17), (-w, y + 12))]
        d.part([*edges, mirror(sides)[::-1]], lift=0.4)
        if g.closure == "zip":
            d.line(line((0, y), (0, y + 17)), "zip")


def belt(d: Drawing, g: Garment, y: float, half: float, body: Curve | None) -> None:
    """Draw what holds the waist, around height y."""
    if g.belt in ("tie", "sash", "buckle"):
        h = {"tie": 2.0, "sash": 4.2, "buckle": 2.2}[g.belt]
        fabric = "trim" if g.belt != "tie" else "main"
        w = half + 0.7
        d.part([arc((-w, y - h), (w, y - h), -0.02), line((w, y - h), (w, y + h)), arc((w, y + h), (-w, y + h), 0.02),
                line((-w, y + h), (-w, y - h))], fabric=fabric, tone=0.95, lift=0.6)  # fmt: skip
        if g.belt == "buckle":
            d.part([line((-3, y - 2.9), (3, y - 2.9), (3, y + 3.3), (-3, y + 3.3), (-3, y - 2.9))], fabric="metal", lift=0.5)
            d.part([line((-1.7, y - 1.6), (1.7, y - 1.6), (1.7, y + 2), (-1.7, y + 2), (-1.7, y - 1.6))], fabric="trim", lift=0)
        elif g.belt == "tie":
            _tie(d, 3.0, y)
        else:
            d.line(arc((-w, y), (w, y), -0.02), "fold")
    elif g.belt == "drawstring":
        for side in (-1, 1):
            d.line(arc((side * 1.2, y), (side * 3.5, y + 14), 0.08 * side), "cord")
            d.part([circle((side * 1.2, y), 0.7)], fabric="metal", lift=0)


def _tie(d: Drawing, x: float, y: float) -> None:
    for dx, dy in ((5.0, 20.0), (-2.0, 22.0)):
        d.part([line((x - 1, y), (x + dx - 1.6, y + dy)), line((x + dx - 1.6, y + dy), (x + dx + 1.8, y + dy - 1), (x + 1.2, y))], lift=0.5)
    d.part([circle((x, y), 2.3, 0.9)], lift=0.5)


def panel(d: Drawing, g: Garment, body: Curve, bottom: float) -> None:
    """Draw the region in the second colour onto the body."""
    w, low = 60.0, bottom + 30
    if g.panel == "yoke":
        y = 17.0
        seam = spline((w, y - 3), (0.5 * g.chest, y + 1), (0, y + 3), (-0.5 * g.chest, y + 1), (-w, y - 3))
        d.part([seam, line((-w, -40), (w, -40))], hidden=(1,), fabric="second", lift=0, clip=body)
    elif g.panel == "block":
        y = 0.55 * bottom
        d.part([line((-w, y), (w, y)), line((w, low), (-w, low))], hidden=(1,), fabric="second", lift=0, clip=body)
    elif g.panel == "sides":
        seam = spline((g.shoulder - 4, -2), (0.62 * g.chest, 20), (0.55 * g.waist, g.rise), (0.7 * g.hip, low))
        d.part([seam, line((w, low), (w, -10))], hidden=(1,), fabric="second", lift=0, clip=body, both=True)


def chest_print(d: Drawing, g: Garment) -> None:
    """Draw the picture on the chest."""
    y, r = 31.0, 8.5
    if g.print == "bars":
        for k in range(3):
            d.part([line((-r, y - 6 + 5 * k), (r, y - 6 + 5 * k), (r, y - 3 + 5 * k), (-r, y - 3 + 5 * k), (-r, y - 6 + 5 * k))],
                   fabric="second", lift=0)  # fmt: skip
        return
    if g.print == "sun":
        for k in range(8):
            spoke = _turned(line((0, -r - 1.5), (0, -r + 2.0)), k)
            d.line(spoke + np.array([0, y]), "print")
    d.part([motif(g.print, r) + np.array([0, y])], fabric="second", lift=0)


def _turned(points: Curve, eighths: int) -> Curve:
    half = 0.7071067811865476  # cosine of 45 degrees
    for _ in range(eighths):
        points = np.stack([(points[:, 0] - points[:, 1]) * half, (points[:, 0] + points[:, 1]) * half], axis=1)
    return points


def motif(name: str, r: float) -> Curve:
    """A closed shape of radius r about the origin: heart, star, sun, bolt, mountain, diamond, flower, leaf or triangle."""
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
        return np.concatenate([_turned(petal, k) for k in (0, 2, 4, 6)] + [petal[:1]]) * r
    if name == "leaf":
        return np.concatenate([arc((0, -1), (0, 1), -0.24), arc((0, 1), (0, -1), -0.24)]) * r
    return circle((0, 0), r * (0.62 if name == "sun" else 1.0))
