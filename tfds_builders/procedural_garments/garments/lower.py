"""Skirts and trousers, of their own or below a bodice."""

from tfds_builders.procedural_garments.garments.drawing import Drawing
from tfds_builders.procedural_garments.garments.geometry import Curve, across, arc, band, line, mirror, spline
from tfds_builders.procedural_garments.garments.parameters import Garment
from tfds_builders.procedural_garments.garments.torso import cut_slanting, frill_edge, hem_edge


def skirt(d: Drawing, g: Garment, top: float, bottom: float) -> Curve:
    """Draw a skirt from the waist at height top to its hem; returns its outline."""
    drop = bottom - top
    if g.skirt == "tiered":
        return _tiers(d, g, top, bottom)
    hip = (max(g.hip, g.waist + 2), top + min(18.0, 0.4 * drop))
    if g.skirt == "circle":
        side = arc((g.waist, top), (g.hem, bottom), 0.06)
    elif g.skirt == "mermaid":
        side = spline((g.waist, top), hip, (g.hip * 0.86, top + 0.62 * drop), (g.hem, bottom))
    elif g.skirt in ("aline", "pleated"):
        side = arc((g.waist, top), (g.hem, bottom), 0.03)
    else:
        side = spline((g.waist, top), hip, (g.hem, bottom))
    style = g.hem_style if g.hem_style in ("dip", "slant", "zigzag") else "straight"
    hem = _hem(g, style, bottom)
    left = mirror(side)
    if style == "slant":
        side, left = cut_slanting(side, g.hem, bottom, hem)
    edges = [across(g.waist, top, -0.02), side, hem, left[::-1]]
    outline = d.part(edges, hidden=(0,) if g.kind != "skirt" else ())
    _skirt_lines(d, g, top, bottom, outline)
    if g.hem_style == "frill":
        height = 4 + 0.1 * drop
        wide = g.hem + 0.3 * height + 1
        low = frill_edge((wide, bottom + height), (-wide, bottom + height), 7)
        d.part(band(g.hem, bottom - 1, -0.035, low))
        for k in range(-3, 4):
            x = (k + 0.4) * 2 * g.hem / 7
            d.line(arc((x, bottom + 0.3), (x * 1.04, bottom + 0.7 * height), 0.06), "fold")
    return outline


def _hem(g: Garment, style: str, bottom: float) -> Curve:
    if g.skirt == "circle" and style == "straight":
        return frill_edge((g.hem, bottom), (-g.hem, bottom), 5)
    if g.skirt == "pleated" and style == "straight":
        teeth = 12
        points = [(g.hem * (1 - 2 * k / teeth), bottom + (1.4 if k % 2 else 0) + 3 * (1 - (1 - 2 * k / teeth) ** 2))
                  for k in range(teeth + 1)]  # fmt: skip
        return line(*points)
    return hem_edge(style, g.hem, bottom)


def _skirt_lines(d: Drawing, g: Garment, top: float, bottom: float, outline: Curve) -> None:
    drop = bottom - top
    if g.skirt == "pleated":
        for k in range(1, 12):
            x = 2 * k / 12 - 1
            d.line(line((g.waist * x, top + 1), (g.hem * x, bottom + 6)), "seam", clip=outline)
    elif g.skirt == "circle":
        for k, start in ((-2, 0.05), (-1, 0.25), (0, 0.12), (1, 0.3), (2, 0.05)):
            x = 2 * k / 5
            y = top + start * drop
            d.line(arc((g.waist * x * (1 + start), y), (g.hem * x, bottom - 1), 0.03 * k), "fold", clip=outline)
    elif g.skirt == "wrap":
        d.line(arc((-g.waist * 0.55, top), (g.hem * 0.45, bottom + 4), -0.08), "edge", clip=outline)
        for k in (0.2, 0.4):
            d.line(arc((-g.waist * 0.5, top + 1), (g.hem * 0.5, top + drop * k), -0.1), "fold", clip=outline)
    elif g.skirt == "slit":
        x = 0.42 * g.hem
        start, left, right = (x, bottom - 0.45 * drop), (x - 3.5, bottom + 3), (x + 3, bottom + 3)
        edges = [arc(start, left, 0.05), line(left, right), line(right, start)]
        d.part(edges, hidden=(1,), fabric="lining", tone=0.6, lift=0, clip=outline)
    elif g.skirt == "mermaid":
        for k in (-2, -1, 0, 1, 2):
            start, end = (g.hip * 0.36 * k, top + 0.66 * drop), (g.hem * 0.4 * k, bottom)
            d.line(arc(start, end, 0.02 * k), "fold", clip=outline)
    else:
        for k in (-1, 1):
            d.line(line((g.waist * 0.5 * k, top + 1), (g.hip * 0.5 * k, top + min(13, 0.25 * drop))), "seam")
        if g.skirt == "aline" and drop > 40:
            for k in (-0.6, 0.1, 0.65):
                d.line(arc((g.hip * k, top + 0.4 * drop), (g.hem * k * 1.05, bottom - 1), 0.02), "fold", clip=outline)
    if g.hem_style == "straight" and g.skirt not in ("pleated", "circle"):
        d.line(hem_edge("straight", g.hem, bottom - 2.2), "stitch", clip=outline)


def _tiers(d: Drawing, g: Garment, top: float, bottom: float) -> Curve:
    count = 2 + int((bottom - top) > 45) + int((bottom - top) > 80)
    step = (bottom - top) / count
    pieces = []
    for k in reversed(range(count)):
        y0, y1 = top + k * step, top + (k + 1) * step
        a = g.waist + (g.hem - g.waist) * k / count
        b = g.waist + (g.hem - g.waist) * (k + 1) / count + 1.5
        edges = band(a, y0 - 1, -0.02, frill_edge((b, y1), (-b, y1), 5 + k), side=0.05)
        pieces.append(d.part(edges, hidden=(0,) if k else ()))
        for j in range(-3, 4):
            x = a * (j + 0.3) / 3.6
            end = (x * b / a * 0.97, y0 + (0.35 + 0.1 * (j % 3)) * step)
            d.line(arc((x, y0 + 0.5), end, 0.05), "fold", clip=pieces[-1])
    return pieces[0]


def trousers(d: Drawing, g: Garment, top: float, bottom: float, crotch: float) -> Curve:
    """Draw two legs from the waist at height top; returns the outline of the right one.

    Args:
        d: gets the pieces.
        g: the garment; `hem` is the half width of a leg at its end.
        top: height of the waist, cm.
        bottom: height of the hems, cm.
        crotch: height of the crotch, cm.
    """
    drop = bottom - crotch
    centre = max(0.5 * g.hip + 2 * g.spread * drop, g.hem + 0.8)
    knee_y, knee_x = crotch + 0.42 * drop, 0.5 * g.hip + 0.9 * g.spread * drop
    thigh = 0.5 * g.hip
    knee_x = 0.5 * knee_x + 0.5 * max(knee_x, 0.5 * (0.5 * g.hip + centre))
    narrow = min(0.5 * thigh + 0.42 * g.hem, 0.8 * thigh + 2) if g.hem < thigh + 2 else 0.92 * thigh
    right, left = (centre + g.hem, bottom), (centre - g.hem, bottom)
    upper = [(g.waist, top), (g.hip, top + 0.7 * (crotch - top))]
    if drop < 30:
        outer, inner = spline(*upper, right), line(left, (0, crotch))
    else:
        outer = spline(*upper, (knee_x + narrow, knee_y), right)
        inner = spline(left, (knee_x - narrow, knee_y), (0, crotch))
    hem = arc(right, left, 0.05)
    rise = line((0, crotch), (0, top))
    leg = d.part([arc((0, top), (g.waist, top), -0.02), outer, hem, inner, rise], both=True, lift=0.15)
    for k in (-1, 0, 1):
        d.line(arc((0.8, crotch - 1 + k), (7 + 2 * k, crotch + 5 * k - 2), 0.1), "fold", both=True)
    if g.leg == "creased":
        d.line(spline((0.55 * g.waist, top + 4), (knee_x, knee_y), (centre, bottom - 1)), "seam", both=True)
    elif g.leg == "ripped" and drop > 40:
        for shift, wide in ((-3.0, 0.5), (0.5, 0.65), (4.0, 0.45)):
            a, b = ((knee_x + side * wide * narrow, knee_y + shift) for side in (-1, 1))
            d.part([arc(a, b, 0.08), arc(b, a, 0.08)], fabric="light", lift=0, both=True)
    elif drop > 40:
        d.line(arc((knee_x - narrow + 0.5, knee_y + 2), (knee_x, knee_y - 1), 0.1), "fold", clip=leg, both=True)
        d.line(arc((knee_x + narrow - 0.5, knee_y + 4), (knee_x + 1, knee_y + 3), -0.1), "fold", clip=leg, both=True)
    _leg_end(d, g, centre, bottom, leg)
    return leg


def _leg_end(d: Drawing, g: Garment, centre: float, bottom: float, leg: Curve) -> None:
    if g.leg in ("turnup", "elastic"):
        up, grow = (5.0, 0.8) if g.leg == "turnup" else (5.5, -1.2)
        start = bottom - up if g.leg == "turnup" else bottom - 1
        wide = g.hem + grow
        a, b = (centre - g.hem - max(grow, 0), start), (centre + g.hem + max(grow, 0), start)
        p, q = (centre + wide, start + up), (centre - wide, start + up)
        fabric = "lining" if g.leg == "turnup" else "main"
        d.part([arc(a, b, -0.05), line(b, p), arc(p, q, 0.05), line(q, a)], fabric=fabric, both=True)
        if g.leg == "elastic":
            for k in range(1, 7):
                x = centre - g.hem + 2 * g.hem * k / 7
                d.line(line((x, start + 0.6), (centre + (x - centre) * 0.92, start + up)), "rib", both=True)
    else:
        d.line(arc((centre + g.hem, bottom - 2), (centre - g.hem, bottom - 2), 0.05), "stitch", clip=leg, both=True)
