"""The parameters of a garment, how they are drawn, and how a near-duplicate differs from its original.

Lengths are centimetres on a garment lying flat; widths are measured from its middle line.
"""

from dataclasses import dataclass, replace

import numpy as np

from tfds_builders.procedural_garments.garments.palette import NUM_COLOURS
from tfds_builders.procedural_garments.garments.rules import LOWER, LOWER_RULES, Draw, surface, upper


@dataclass(frozen=True)
class Garment:
    """One garment. Words choose a construction, numbers its proportions.

    Attributes:
        kind: dress, top, shirt, jacket, coat, hoodie, sweater, cardigan, vest, jumpsuit, trousers, shorts, skirt or
            dungarees.
        neck: half width of the neck opening, cm.
        shoulder: half width at the shoulders, cm.
        chest: half width below the arms, cm.
        waist: half width at the waist, cm.
        hip: half width at the hip, cm.
        hem: half width at the lower edge (of the skirt, of the body, or of a trouser leg), cm.
        rise: height of the waist below the shoulder, cm.
        length: from the shoulder (waist of trousers and skirts) to the lower edge, cm.
        sleeve: none, strap, halter, cap, straight, puff, bishop, bell, raglan or dolman.
        sleeve_length: cm.
        sleeve_width: half width at the wrist, cm.
        spread: half tangent of the angle between arm and body.
        cuff: plain, band, rib, rolled or frill.
        neckline: crew, scoop, v, square, boat, sweetheart or keyhole.
        depth: depth of the neckline, cm.
        collar: none, shirt, round, stand, turtle, notch, shawl, hood or bow.
        closure: none, buttons, double, zip, biker, placket, wrap, toggles or lace.
        buttons: number of buttons or toggles.
        pockets: none, chest, patch, welt, flap, kangaroo or cargo.
        hem_style: straight, curved, rib, frill, dip, slant, zigzag or peplum.
        skirt: straight, aline, circle, pleated, tiered, wrap, slit or mermaid.
        leg: straight, creased, turnup, elastic or ripped.
        belt: none, tie, buckle, drawstring or sash.
        panel: none, yoke, sleeves, block or sides; the piece in the second colour.
        print: none, heart, star, sun, bolt, mountain or bars; on the chest.
        pattern: a key of `patterns.PATTERNS`.
        pattern_size: distance between repeats, cm.
        cloth: smooth, knit, denim, quilted or cable.
        colours: rows of the palette: main, second, trim.
        seed: for the fall of its folds.
    """

    kind: str
    neck: float = 8.0
    shoulder: float = 20.0
    chest: float = 24.0
    waist: float = 22.0
    hip: float = 26.0
    hem: float = 25.0
    rise: float = 42.0
    length: float = 64.0
    sleeve: str = "none"
    sleeve_length: float = 20.0
    sleeve_width: float = 6.0
    spread: float = 0.25
    cuff: str = "plain"
    neckline: str = "crew"
    depth: float = 8.0
    collar: str = "none"
    closure: str = "none"
    buttons: int = 5
    pockets: str = "none"
    hem_style: str = "straight"
    skirt: str = "straight"
    leg: str = "straight"
    belt: str = "none"
    panel: str = "none"
    print: str = "none"
    pattern: str = "plain"
    pattern_size: float = 8.0
    cloth: str = "smooth"
    colours: tuple[int, int, int] = (0, 1, 2)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r}: choose one of {', '.join(KINDS)}")


# how often each kind comes, relative to the others
KINDS = {
    "dress": 80, "top": 95, "shirt": 50, "jacket": 70, "coat": 35, "hoodie": 50, "sweater": 60, "cardigan": 30,
    "vest": 25, "jumpsuit": 20, "trousers": 50, "shorts": 20, "skirt": 40, "dungarees": 15,
}  # fmt: skip


def draw_garment(rng: np.random.Generator, kind: str | None = None) -> Garment:
    """A garment at random.

    Args:
        rng: source of all choices.
        kind: draw one of this kind; None draws the kind too.
    """
    draw = Draw(rng)
    if kind is None:
        kind = draw.of([name for name, weight in KINDS.items() for _ in range(weight)])
    fields = LOWER_RULES[kind](draw) if kind in LOWER_RULES else upper(draw, kind)
    main, second, trim = (int(c) for c in rng.permutation(NUM_COLOURS)[:3])
    cloth = surface(draw, kind, fields)
    seed = int(rng.integers(2**31))
    return Garment(kind=kind, **(fields | cloth), colours=(main, second, trim), seed=seed)


def vary(garment: Garment, rng: np.random.Generator) -> Garment:
    """A near-duplicate: kind, silhouette and colours stay, two details change."""
    draw = Draw(rng)
    on_shoulders = garment.kind not in (*LOWER, "dungarees")
    other = draw_garment(rng, garment.kind)
    details = ["pockets", "pattern", "closure", "belt"]
    details += ["collar", "cuff", "neckline", "print"] if on_shoulders else ["leg", "hem_style"]
    order = [details[int(i)] for i in rng.permutation(len(details))]
    changed = {name: getattr(other, name) for name in order if getattr(other, name) != getattr(garment, name)}
    if "pockets" not in changed and garment.kind != "hoodie":
        changed["pockets"] = "none" if garment.pockets != "none" else draw.of("patch welt flap")
    if garment.cloth in ("quilted", "cable"):
        changed.pop("pattern", None)
    if "collar" in changed and (garment.kind in ("jacket", "coat", "vest", "cardigan", "hoodie")):
        changed.pop("collar")
    chosen = dict(list(changed.items())[:2])
    if not chosen:  # everything that was drawn alike: draw again
        return vary(garment, rng)
    if "pattern" in chosen and chosen["pattern"] != "plain":
        chosen |= {"print": "none", "panel": "none"}
    return replace(garment, **chosen, seed=int(rng.integers(2**31)))
