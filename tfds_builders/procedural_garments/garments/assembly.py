"""From parameters to a drawing: which pieces each kind of garment has, in paint order."""

from dataclasses import replace

import numpy as np

from tfds_builders.procedural_garments.garments import collars, details, lower, torso
from tfds_builders.procedural_garments.garments.drawing import Drawing
from tfds_builders.procedural_garments.garments.geometry import Curve, across, arc, band, circle, line, polygon, spline
from tfds_builders.procedural_garments.garments.parameters import Garment
from tfds_builders.procedural_garments.garments.rules import LOWER


def assemble(g: Garment) -> Drawing:
    """All pieces and lines of a garment in centimetres, bottom piece first."""
    d = Drawing()
    if g.kind in LOWER:
        _lower(d, g)
    elif g.kind == "dungarees":
        _dungarees(d, g)
    elif g.kind in ("dress", "jumpsuit"):
        _full_length(d, g)
    else:
        _upper(d, g)
    return d


def _upper(d: Drawing, g: Garment) -> None:
    if g.hem_style == "peplum":
        _peplum(d, g)
    bottom, half = (g.rise + 2, g.waist) if g.hem_style == "peplum" else (g.length, g.hem)
    body = torso.torso(d, g, bottom, half)
    details.panel(d, g, body, bottom)
    _cloth(d, g, body, bottom)
    if g.print != "none":
        details.chest_print(d, g)
    _hem_finish(d, g, bottom, half, body)
    top = g.depth + 3 if g.neckline == "v" else 0.75 * min(g.depth, 10)
    top = torso.STRAP_TOP + 3 if g.sleeve == "strap" else top
    details.closure(d, g, top, bottom, body)
    _upper_pockets(d, g, bottom)
    if g.sleeve != "strap" and (g.sleeve != "halter" or g.neckline == "keyhole" or g.collar == "none"):
        collars.collar(d, g)
    if g.belt != "none" and bottom > g.rise + 8:
        details.belt(d, g, g.rise, g.waist)


def _upper_pockets(d: Drawing, g: Garment, bottom: float) -> None:
    if g.pockets == "chest":
        details.pockets(d, g, "chest", 0.5 * g.chest, 25.0)
    elif g.pockets == "kangaroo":
        details.pockets(d, g, "kangaroo", 0.0, bottom - 26)
    elif g.pockets != "none":
        y = min(max(g.rise + 3, bottom - 30), bottom - 26) if bottom < 80 else g.rise + 9
        if y > 27:
            details.pockets(d, g, g.pockets, 0.56 * g.waist, y)


def _hem_finish(d: Drawing, g: Garment, bottom: float, half: float, body: Curve) -> None:
    if g.hem_style == "rib":
        edges = band(half, bottom - 1, -0.03, across(0.8 - half, bottom + 5, 0.035))
        d.part(edges, fabric="trim" if g.panel != "none" else "main", tone=0.96)
        for k in range(-9, 10):
            x = half * k / 10
            d.line(line((x, bottom + 0.2), (x * 0.97, bottom + 5)), "rib")
    elif g.hem_style == "frill":
        wide = half + 2.5
        d.part(band(half, bottom - 1, -0.03, torso.frill_edge((wide, bottom + 8), (-wide, bottom + 8), 7)))
        for k in range(-3, 4):
            d.line(arc((half * k / 3.6, bottom), (half * k / 3.4, bottom + 5), 0.06), "fold")
    elif g.hem_style in ("straight", "curved", "dip"):
        edge = torso.hem_edge(g.hem_style, half, bottom)
        d.line(edge + np.array([0, -2.0]), "stitch", clip=body)


def _peplum(d: Drawing, g: Garment) -> None:
    top, bottom, wide = g.rise, max(g.length, g.rise + 14), g.hip + 7
    piece = d.part(band(g.waist, top, 0.0, torso.frill_edge((wide, bottom), (-wide, bottom), 5), side=0.08))
    for k in (-2, -1, 0, 1, 2):
        d.line(arc((0.42 * k * g.waist, top + 4), (0.4 * k * wide, bottom), 0.02 * k), "fold", clip=piece)


def _cloth(d: Drawing, g: Garment, body: Curve, bottom: float) -> None:
    """Lines that belong to the cloth itself: quilting, cables."""
    if g.cloth == "quilted":
        y = 12.0
        while y < bottom - 3:
            d.line(across(40, y, -0.02), "quilt", clip=body)
            y += 0.9 * g.pattern_size + 1
    elif g.cloth == "cable":
        for x in (-0.5 * g.waist, 0.0, 0.5 * g.waist):
            for phase in (1, -1):
                points = [
                    (x + 1.7 * phase * (1 if k % 2 else -1), 8.0 + 5.0 * k) for k in range(int((bottom - 8) / 5) + 1)
                ]
                d.line(spline(*points), "seam", clip=body)


def _full_length(d: Drawing, g: Garment) -> None:
    """Dresses and jumpsuits: a bodice down to the waist, the rest below it."""
    if g.kind == "dress":
        lower.skirt(d, g, g.rise - 1, g.length)
    else:
        crotch = g.rise + 26
        lower.trousers(d, replace(g, spread=0.2 * g.spread), g.rise - 1, max(g.length, crotch + 12), crotch)
    bodice = replace(g, hem_style="straight")
    body = torso.torso(d, bodice, g.rise, g.waist)
    details.panel(d, g, body, g.rise)
    top = g.depth + 3 if g.neckline == "v" else 0.75 * min(g.depth, 10)
    top = torso.STRAP_TOP + 3 if g.sleeve == "strap" else top
    if g.closure in ("buttons", "zip") and g.kind == "dress" and g.skirt in ("aline", "straight", "slit"):
        details.closure(d, g, top, g.length - 6, line((-9, -9), (9, -9), (9, g.length), (-9, g.length)))
    elif g.closure != "none" and g.rise - top > 9:
        details.closure(d, g, top, g.rise - 1, body)
    if g.sleeve != "strap":
        collars.collar(d, g)
    if g.pockets == "chest" and g.rise > 36:
        details.pockets(d, g, "chest", 0.5 * g.chest, 24.0)
    elif g.pockets in ("patch", "welt") and g.length - g.rise > 32:
        details.pockets(d, g, g.pockets, 0.6 * g.waist, g.rise + 9)
    details.belt(d, g, g.rise, g.waist)


def _waistband(d: Drawing, g: Garment, gathered: bool) -> None:
    high, w = 4.5, g.waist - 0.2
    d.part(band(w - 0.4, -high, -0.03, across(-w, 0.6, 0.02)), tone=0.97, lift=0.4)
    if gathered:
        for k in range(-7, 8):
            d.line(line((w * k / 8, -high + 0.6), (w * k / 8, 0.4)), "rib")
    elif g.belt != "sash" and g.kind != "skirt":
        for k in (-0.72, -0.3, 0.3, 0.72):
            x = k * w
            d.part(polygon((x - 0.7, -high - 0.4), (x + 0.7, -high - 0.4), (x + 0.7, 1.2), (x - 0.7, 1.2)))


def _lower(d: Drawing, g: Garment) -> None:
    w = g.waist - 0.6
    d.part([across(w, -4.5, 0.015), across(-w, -4.5, 0.1)], fabric="lining", tone=0.7, lift=0)
    if g.kind == "skirt":
        body = lower.skirt(d, g, 0.0, g.length)
        if g.closure == "buttons" and g.skirt in ("straight", "aline", "slit"):
            details.closure(d, g, 1.0, g.length - 4, body)
        elif g.closure == "lace":
            details.closure(d, g, 2.0, min(26.0, 0.5 * g.length), body)
        elif g.closure == "zip":
            d.line(line((0.0, 0.5), (0.0, min(0.45 * g.length, 22))), "zip", clip=body)
    else:
        body = lower.trousers(d, g, 0.0, g.length, g.rise)
        d.line(line((0, 0.5), (0, g.rise)), "seam")
        if g.closure != "none":
            d.line(spline((4.2, 0.5), (4.2, 0.5 * g.rise), (3.2, 0.66 * g.rise), (0, 0.76 * g.rise)), "stitch")
    _lower_panel(d, g, body)
    _lower_pockets(d, g, body)
    _waistband(d, g, gathered=g.belt == "drawstring" or g.leg == "elastic")
    if g.closure in ("zip", "buttons") and g.kind != "skirt":
        d.part([circle((0.3, -2.0), 1.2)], fabric="button")
    details.belt(d, g, -2.0, g.waist - 0.4)


def _lower_panel(d: Drawing, g: Garment, body: Curve) -> None:
    """A stripe along the outer seams, or a band above the hem."""
    both = g.kind != "skirt"
    if g.panel == "block":
        y = 0.72 * g.length
        rest = line((90, g.length + 40), (-90, g.length + 40))
        details.second_colour(d, line((-90, y), (90, y)), rest, body, both=both)
    elif g.panel == "sides" and both:
        outer = body[body[:, 0] > 0.6 * body[:, 0].max()]
        outer = outer[(outer[:, 1] > 0.2) & (outer[:, 1] < g.length - 0.5)]
        outer = outer[np.argsort(outer[:, 1], kind="stable")]
        inner = outer - np.array([4.5, 0.0])
        if len(outer) > 2:
            details.second_colour(d, inner, outer[::-1] + np.array([30.0, 0.0]), body, both=True)


def _lower_pockets(d: Drawing, g: Garment, body: Curve) -> None:
    if g.kind == "skirt":
        if g.pockets != "none":
            details.pockets(d, g, g.pockets, 0.58 * g.waist, 8.0)
        return
    if g.pockets == "welt":
        d.line(arc((0.55 * g.waist, 0.5), (g.hip + 0.5, 14), 0.1), "edge", clip=body, both=True)
    elif g.pockets == "cargo":
        d.line(line((0.7 * g.waist, 0.5), (g.hip, 15)), "edge", clip=body, both=True)
        details.pockets(d, g, "cargo", 0.72 * g.hip, g.rise + 3)
    elif g.pockets != "none":
        details.pockets(d, g, g.pockets, 0.55 * g.hip, 6.0)


def _dungarees(d: Drawing, g: Garment) -> None:
    up = -g.depth - 4
    half = 0.62 * g.waist
    d.part(
        [line((half - 5, up + 2), (half - 3.6, up - 17)), line((half + 0.2, up - 17), (half - 0.4, up + 2))], both=True
    )
    leg = lower.trousers(d, g, 0.0, g.length, g.rise)
    d.line(line((0, 0.5), (0, g.rise)), "seam")
    bib = [line((-half, up), (half, up)), arc((half, up), (g.waist, -1), -0.12), line((g.waist, -1), (-g.waist, -1))]
    body = d.part([*bib, arc((-g.waist, -1), (-half, up), -0.12)], lift=0.2)
    d.line(line((-half, up + 2.4), (half, up + 2.4)), "stitch", clip=body)
    wide, y = 0.5 * half + 1, up + 7
    d.part(polygon((-wide, y), (wide, y), (wide, y + 8), (0, y + 10.5), (-wide, y + 8), corners=[1]))
    d.line(line((0, y), (0, y + 10.5)), "stitch")
    d.part([circle((half - 2.6, up + 3), 1.5)], fabric="metal", both=True)
    _lower_pockets(d, g, leg)
    _waistband(d, g, gathered=False)
    for k in (1, 2, 3):
        d.part([circle((g.waist + 0.2, 2.5 * k), 0.8)], fabric="metal", both=True)
