"""Collars, hoods and bows."""

from tfds_builders.procedural_garments.garments.drawing import Drawing
from tfds_builders.procedural_garments.garments.geometry import across, arc, band, circle, line, spline
from tfds_builders.procedural_garments.garments.parameters import Garment


def collar(d: Drawing, g: Garment) -> None:
    """Draw the collar over body and neckline."""
    n, deep = g.neck, g.depth + (3 if g.neckline == "v" else 0)
    if g.collar in ("shirt", "round"):
        end = (0.4, min(deep, 12.0) if g.closure == "none" else deep)
        back, outer, tip = (n - 1.2, -3.2), (n + 2.2, 1.2), (0.55 * n + 3.2, end[1] + 5.5)
        rim = line(outer, tip, end) if g.collar == "shirt" else spline(outer, (n + 2.0, 0.7 * end[1]), tip, end)
        d.part([across(back[0], -3.2, -0.08), across(-back[0], -3.2, -0.2)], fabric="lining", tone=0.85)
        fabric = "trim" if g.panel == "yoke" else "main"
        d.part([arc(back, outer, 0.1), rim, arc(end, back, -0.05)], fabric=fabric, axis=0.25, both=True, lift=0.5)
    elif g.collar in ("stand", "turtle"):
        high = 5.0 if g.collar == "stand" else 10.0
        half = n - 1.2
        d.part([across(half, -high, 0.05), across(-half, -high, 0.12)], fabric="lining", tone=0.7)
        outline = d.part(band(half, -high, -0.1, across(-n - 1.0, 1.0, 0.3)), lift=0.45)
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
        bow(d, (0.0, 0.55 * min(deep, 11)), 1.0)
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
    d.part([across(back[0], -4, 0.06), across(-back[0], -4, -0.16)], tone=0.9)
    if g.collar == "shawl":
        rim = spline(start, (n + wide - 1, 0.35 * deep), (0.62 * (n + wide), 0.7 * deep), end)
        d.part([arc(back, start, 0.1), rim, arc(end, back, -0.05)], tone=1.05, axis=0.2, both=True, lift=0.6)
        return
    notch, inner = (n + 0.55 * wide, 0.36 * deep + 1), (n + 0.1 * wide, 0.3 * deep + 2)
    point, corner = (n + wide + 1, 0.36 * deep), (n + 0.75 * wide, 0.26 * deep)
    neck = (n - 1, 0.1 * deep)
    lapel = [line(neck, inner, notch, point), arc(point, end, 0.05), arc(end, neck, -0.02)]
    d.part(lapel, tone=1.04, axis=0.2, both=True, lift=0.6)
    upper = [arc(back, start, 0.1), line(start, corner, notch, inner), arc(inner, back, -0.04)]
    d.part(upper, tone=0.98, axis=-0.2, both=True, lift=0.5)


def _hood(d: Drawing, g: Garment, n: float, deep: float) -> None:
    w = n + 5.0
    outer = spline((-w, 3.0), (-w - 1.5, -9), (-0.55 * w, -22), (0, -25), (0.55 * w, -22), (w + 1.5, -9), (w, 3.0))
    d.part([outer, across(-w, 3.0, 0.3)], lift=0.4)
    inner = spline((0, deep), (n - 0.5, 0), (n - 0.5, -10), (0, -20), (-n + 0.5, -10), (-n + 0.5, 0), (0, deep))
    d.part([inner], fabric="lining", tone=0.62, lift=0)
    d.line(arc((0, -19), (0, -2), -0.04), "seam")
    for side in (-1, 1):
        start = (side * 0.5 * n, 0.45 * deep)
        d.part([circle(start, 0.7)], fabric="metal", lift=0)
        d.line(arc(start, (side * (0.5 * n + 1.5), 0.45 * deep + 15), -0.05 * side), "cord")


def bow(d: Drawing, at: tuple[float, float], size: float) -> None:
    """A bow tied at a point; size 1 is that of a blouse."""
    x, y = at
    end = (x + 8.5 * size, y + 14.5 * size)
    d.part([line((x + 0.5, y), (x + 5 * size, y + 17 * size), end), line(end, (x + 1.5, y))], fabric="trim", both=True)
    loop = spline(
        (x, y), (x + 6 * size, y - 4.5 * size), (x + 9.5 * size, y - 0.5), (x + 6 * size, y + 3.6 * size), (x, y)
    )
    d.part([loop], fabric="trim", both=True, lift=0.4)
    d.part([circle((x, y), 1.7 * size, 1.15)], fabric="trim", lift=0.5)
