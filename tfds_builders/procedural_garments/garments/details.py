"""Closures, pockets, belts, panels and prints: what near-duplicates differ in."""

import numpy as np

from tfds_builders.procedural_garments.garments import collars
from tfds_builders.procedural_garments.garments.drawing import Drawing
from tfds_builders.procedural_garments.garments.geometry import (
    Curve,
    across,
    arc,
    band,
    circle,
    line,
    mirror,
    polygon,
    spline,
)
from tfds_builders.procedural_garments.garments.parameters import Garment
from tfds_builders.procedural_garments.garments.shapes import motif, turned


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
        d.part(polygon((0.5, top), (11, top + 2), (7.5, top + 15), corners=[2]), lift=0.6)
    elif g.closure == "wrap":
        reach = min(span, 34.0)
        d.line(arc((-0.5 * g.neck, top - 5), (0.8 * g.waist, top + reach), -0.08), "edge", clip=body)
        if g.belt == "none":
            collars.bow(d, (0.66 * g.waist, top + reach * 0.86), 0.6)
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


def pockets(d: Drawing, g: Garment, style: str, x: float, y: float) -> None:
    """Draw pockets around (x, y) and its mirror image; a chest pocket only on the right of the picture."""
    if style == "chest":
        w, h = 4.6, 10.0
        d.part(polygon((x - w, y), (x + w, y), (x + w, y + h - 2), (x, y + h), (x - w, y + h - 2), corners=[1]))
        d.line(line((x - w, y + 2), (x + w, y + 2)), "stitch")
    elif style == "patch":
        w, h = 6.6, 14.0
        d.part(
            [
                line((x - w, y), (x + w, y)),
                spline((x + w, y), (x + w, y + 0.7 * h), (x + w - 2.5, y + h)),
                line((x + w - 2.5, y + h), (x - w + 2.5, y + h)),
                spline((x - w + 2.5, y + h), (x - w, y + 0.7 * h), (x - w, y)),
            ],
            both=True,
        )
        d.line(line((x - w, y + 2.6), (x + w, y + 2.6)), "stitch", both=True)
    elif style == "welt":
        edges = polygon((x + 3.0, y), (x - 2.5, y + 13), (x + 0.3, y + 14), (x + 5.8, y + 1), corners=[3])
        d.part(edges, tone=0.9, both=True)
    elif style in ("flap", "cargo"):
        w = 6.4
        if style == "cargo":
            bag = polygon((x - w, y + 1), (x - w, y + 15), (x + w, y + 15), (x + w, y + 1), corners=[3])
            d.part(bag, both=True)
        ends = (x - w - 0.5, y), (x + w + 0.5, y)
        d.part(polygon(*ends, (x + w, y + 4.5), (x, y + 6), (x - w, y + 4.5), corners=[1, 4]), both=True, lift=0.5)
        d.part([circle((x, y + 3.6), 0.9)], fabric="button", both=True)
    elif style == "kangaroo":
        w = 0.62 * g.waist
        sides = arc((0.62 * w, y), (w, y + 12), -0.1)
        edges = [line((-0.62 * w, y), (0.62 * w, y)), sides, line((w, y + 12), (w, y + 17), (-w, y + 17), (-w, y + 12))]
        d.part([*edges, mirror(sides)[::-1]], lift=0.4)
        if g.closure == "zip":
            d.line(line((0, y), (0, y + 17)), "zip")


def belt(d: Drawing, g: Garment, y: float, half: float) -> None:
    """Draw what holds the waist, around height y."""
    if g.belt in ("tie", "sash", "buckle"):
        h = {"tie": 2.0, "sash": 4.2, "buckle": 2.2}[g.belt]
        fabric = "trim" if g.belt != "tie" else "main"
        w = half + 0.7
        d.part(band(w, y - h, -0.02, across(-w, y + h, 0.02)), fabric=fabric, tone=0.95, lift=0.6)
        if g.belt == "buckle":
            frame = polygon((-3, y - 2.9), (3, y - 2.9), (3, y + 3.3), (-3, y + 3.3))
            d.part(frame, fabric="metal", lift=0.5)
            hole = polygon((-1.7, y - 1.6), (1.7, y - 1.6), (1.7, y + 2), (-1.7, y + 2))
            d.part(hole, fabric="trim", lift=0)
        elif g.belt == "tie":
            x = 3.0
            for dx, dy in ((5.0, 20.0), (-2.0, 22.0)):
                end = (x + dx - 1.6, y + dy)
                d.part([line((x - 1, y), end), line(end, (x + dx + 1.8, y + dy - 1), (x + 1.2, y))], lift=0.5)
            d.part([circle((x, y), 2.3, 0.9)], lift=0.5)
        else:
            d.line(across(w, y, -0.02), "fold")
    elif g.belt == "drawstring":
        for side in (-1, 1):
            d.line(arc((side * 1.2, y), (side * 3.5, y + 14), 0.08 * side), "cord")
            d.part([circle((side * 1.2, y), 0.7)], fabric="metal", lift=0)


def panel(d: Drawing, g: Garment, body: Curve, bottom: float) -> None:
    """Draw the region in the second colour onto the body."""
    w, low = 60.0, bottom + 30
    if g.panel == "yoke":
        y = 17.0
        seam = spline((w, y - 3), (0.5 * g.chest, y + 1), (0, y + 3), (-0.5 * g.chest, y + 1), (-w, y - 3))
        second_colour(d, seam, line((-w, -40), (w, -40)), body)
    elif g.panel == "block":
        y = 0.55 * bottom
        second_colour(d, line((-w, y), (w, y)), line((w, low), (-w, low)), body)
    elif g.panel == "sides":
        seam = spline((g.shoulder - 4, -2), (0.62 * g.chest, 20), (0.55 * g.waist, g.rise), (0.7 * g.hip, low))
        second_colour(d, seam, line((w, low), (w, -10)), body, both=True)


def second_colour(d: Drawing, seam: Curve, rest: Curve, body: Curve, *, both: bool = False) -> None:
    """Draw the region of the body between a seam and the rest of its outline, which no pen draws."""
    d.part([seam, rest], hidden=(1,), fabric="second", lift=0, clip=body, both=both)


def chest_print(d: Drawing, g: Garment) -> None:
    """Draw the picture on the chest."""
    y, r = 31.0, 8.5
    if g.print == "bars":
        for k in range(3):
            top, low = y - 6 + 5 * k, y - 3 + 5 * k
            d.part(polygon((-r, top), (r, top), (r, low), (-r, low)), fabric="second", lift=0)
        return
    if g.print == "sun":
        for k in range(8):
            spoke = turned(line((0, -r - 1.5), (0, -r + 2.0)), k)
            d.line(spoke + np.array([0, y]), "print")
    d.part([motif(g.print, r) + np.array([0, y])], fabric="second", lift=0)
