"""How the parameters of each kind of garment are drawn at random."""

from collections.abc import Callable, Sequence

import numpy as np

LOWER = ("trousers", "shorts", "skirt")
_PATTERNS = ("hstripes", "vstripes", "diagonal", "checks", "windowpane", "dots", "spots", "floral", "hearts", "stars",
             "zigzag", "argyle", "breton", "gingham", "triangles", "leaves")  # fmt: skip


class Draw:
    """Draws that are the same bits everywhere: no library transform of the uniform numbers."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def between(self, low: float, high: float) -> float:
        """A number from low to high."""
        return low + (high - low) * float(self.rng.random())

    def of(self, options: str | Sequence[str]) -> str:
        """One of the words, each as likely as it is often."""
        words = options.split() if isinstance(options, str) else options
        return words[int(self.rng.integers(len(words)))]

    def chance(self, share: float) -> bool:
        """True with this probability."""
        return bool(self.rng.random() < share)


def surface(draw: Draw, kind: str, fields: dict) -> dict:
    """Pattern, print, panel and cloth; at most one of the first three."""
    plain = {"jacket": 0.68, "coat": 0.62, "hoodie": 0.68, "trousers": 0.66, "shorts": 0.6, "dungarees": 0.78}
    choice = draw.between(0, 1)
    chosen: dict = {"pattern_size": draw.between(5.5, 13)}
    if choice > plain.get(kind, 0.55):
        chosen["pattern"] = draw.of(_PATTERNS)
    elif choice < 0.16 and kind in ("top", "hoodie", "sweater"):
        chosen["print"] = draw.of("heart star sun bolt mountain bars")
    elif choice < 0.36 and kind != "dungarees":
        chosen["panel"] = draw.of(
            {"skirt": "block", "trousers": "sides block", "shorts": "sides"}.get(kind, "yoke sleeves block sides")
        )
    cloths = {
        "jacket": "smooth denim quilted",
        "coat": "smooth smooth quilted",
        "vest": "quilted denim knit",
        "sweater": "knit cable knit",
        "cardigan": "knit cable",
        "trousers": "smooth denim",
        "shorts": "denim smooth",
        "dungarees": "denim",
        "skirt": "smooth smooth denim",
    }
    cloth = draw.of(cloths.get(kind, "smooth"))
    if chosen.get("pattern", "plain") != "plain" and cloth in ("quilted", "cable"):
        cloth = "smooth"
    chosen["cloth"] = cloth
    return chosen


def upper(draw: Draw, kind: str) -> dict:
    """Everything that hangs from the shoulders."""
    fit = draw.between(-1, 1)  # close to wide
    shoulder = draw.between(17, 21) + 2.0 * max(fit, 0)
    chest = shoulder + draw.between(1.5, 4) + 4.5 * max(fit, -0.3)
    f: dict = {
        "shoulder": shoulder,
        "chest": chest,
        "waist": chest - draw.between(0, 2) - (draw.between(2, 5.5) if fit < 0.2 else 0),
        "hip": chest + draw.between(-1, 3),
        "neck": draw.between(6.5, 9.5),
        "depth": draw.between(6, 11),
        "spread": draw.between(0.12, 0.4),
        "rise": draw.between(36, 46),
    }
    long_sleeve, short_sleeve = draw.between(50, 62), draw.between(13, 24)
    UPPER_RULES[kind](draw, f, long_sleeve, short_sleeve)
    if "hem" not in f:
        f["hem"] = f["hip"] + draw.between(-2, 3)
    if f.get("sleeve") in ("bell", "puff", "bishop") and f["sleeve_length"] > 25:
        f["spread"] = max(f["spread"], 0.2)
    return f


def _dress(draw: Draw, f: dict, long: float, short: float) -> None:
    f["sleeve"] = draw.of("none none strap strap halter cap straight straight puff puff bishop bell")
    _arms(draw, f, draw.of(["short", "short", "elbow", "long"]), long, short)
    f["neckline"] = draw.of("crew scoop v v square boat sweetheart keyhole")
    f["depth"] = draw.between(7, 17)
    f["rise"] = float(draw.of("27 38 40 42 54")) + draw.between(-2, 2)
    f["waist"] = f["chest"] - draw.between(2.5, 7)
    f["length"] = float(draw.of("80 92 105 118 135 145")) + draw.between(-4, 4)
    _skirt_shape(draw, f, f["length"] - f["rise"])
    f["collar"] = draw.of("none none none none shirt round bow stand")
    f["closure"] = draw.of("none none none buttons buttons wrap placket zip")
    f["buttons"] = int(draw.rng.integers(4, 11))
    f["belt"] = draw.of("none none tie buckle sash")
    f["pockets"] = draw.of("none none none patch welt chest")
    f["hem_style"] = draw.of("straight straight straight frill dip slant zigzag")


def _skirt_shape(draw: Draw, f: dict, drop: float) -> None:
    f["skirt"] = draw.of("straight aline aline circle pleated tiered wrap slit mermaid")
    flare = {"straight": -0.03, "aline": 0.22, "circle": 0.5, "pleated": 0.25, "tiered": 0.32, "wrap": 0.12,
             "slit": 0.06, "mermaid": 0.2}  # fmt: skip
    f["hip"] = f["waist"] + draw.between(5, 9)
    f["hem"] = f["hip"] + drop * flare[f["skirt"]] * draw.between(0.7, 1.15)


def _arms(draw: Draw, f: dict, reach: str, long: float, short: float) -> None:
    f["sleeve_length"] = {"short": short, "elbow": (long + short) / 2, "long": long}[reach]
    if f["sleeve"] == "cap":
        f["sleeve_length"] = draw.between(7, 10)
    taper = {"short": (8.5, 11.5), "elbow": (7, 10), "long": (5, 7.5)}[reach]
    f["sleeve_width"] = draw.between(*taper)
    f["cuff"] = draw.of("plain plain band rolled frill")
    if f["sleeve"] == "bell":
        f["sleeve_width"] = draw.between(12, 18)
        f["cuff"] = draw.of("plain band frill")
    if f["sleeve"] in ("puff", "bishop"):
        f["cuff"] = draw.of("band frill band")
        f["sleeve_width"] = draw.between(5.5, 7.5)


def _top(draw: Draw, f: dict, long: float, short: float) -> None:
    f["sleeve"] = draw.of(
        "none strap halter cap straight straight straight straight puff bishop bell raglan raglan dolman"
    )
    _arms(draw, f, draw.of(["short", "short", "short", "elbow", "long"]), long, short)
    f["neckline"] = draw.of("crew crew scoop scoop v v square boat sweetheart keyhole")
    f["depth"] = draw.between(6, 15)
    f["length"] = float(draw.of("44 52 60 66 72 84")) + draw.between(-3, 3)
    f["collar"] = draw.of("none none none none shirt round bow turtle stand")
    f["closure"] = draw.of("none none none none buttons placket wrap lace")
    f["buttons"] = int(draw.rng.integers(3, 8))
    f["pockets"] = draw.of("none none none chest patch")
    f["hem_style"] = draw.of("straight straight curved rib frill dip slant peplum zigzag")
    f["belt"] = draw.of("none none none none sash")


def _shirt(draw: Draw, f: dict, long: float, short: float) -> None:
    f["sleeve"] = draw.of("straight straight straight bishop none")
    _arms(draw, f, draw.of(["short", "elbow", "long", "long"]), long, short)
    f["cuff"] = draw.of("band band rolled")
    f |= {"neckline": "v", "depth": draw.between(5, 12), "collar": draw.of("shirt shirt shirt stand round")}
    f["length"] = float(draw.of("52 66 72 78 98")) + draw.between(-3, 3)
    f["closure"] = draw.of("buttons buttons buttons placket")
    f["buttons"] = int(draw.rng.integers(4, 9))
    f["pockets"] = draw.of("none chest chest flap patch")
    f["hem_style"] = draw.of("straight curved curved")


def _jacket(draw: Draw, f: dict, long: float, short: float) -> None:
    f["sleeve"], f["sleeve_length"], f["sleeve_width"] = draw.of("straight straight raglan"), long, draw.between(6, 9)
    f["collar"] = draw.of("notch notch shawl stand shirt hood none")
    f |= {"neckline": "v", "depth": draw.between(16, 34) if f["collar"] in ("notch", "shawl") else draw.between(6, 10)}
    f["length"] = float(draw.of("46 54 62 70 78")) + draw.between(-3, 3)
    f["closure"] = draw.of("buttons double") if f["depth"] > 12 else draw.of("zip zip biker buttons toggles")
    f["buttons"] = int(draw.rng.integers(1, 4)) if f["depth"] > 12 else int(draw.rng.integers(4, 7))
    f["pockets"] = draw.of("none welt flap patch chest")
    f["hem_style"] = "straight" if f["depth"] > 12 else draw.of("straight rib curved")
    f["cuff"] = "rib" if f["hem_style"] == "rib" else draw.of("plain band")
    f["belt"] = draw.of("none none none buckle")


def _coat(draw: Draw, f: dict, long: float, short: float) -> None:
    f["sleeve"] = draw.of("straight straight raglan bell bishop dolman")
    f["sleeve_length"], f["sleeve_width"] = long * draw.between(0.6, 1.0), draw.between(7, 10)
    f["collar"] = draw.of("notch notch shawl stand round hood none shirt")
    f |= {"neckline": "v", "depth": draw.between(14, 34) if f["collar"] in ("notch", "shawl") else draw.between(5, 9)}
    f["length"] = float(draw.of("80 94 108 122 136")) + draw.between(-4, 4)
    f["hem"] = f["hip"] + draw.between(-4, 22)
    f["closure"] = draw.of("buttons double double zip toggles wrap")
    f["buttons"] = int(draw.rng.integers(2, 6))
    f["pockets"] = draw.of("none welt flap patch")
    f["belt"] = draw.of("none tie buckle none")
    f["cuff"] = draw.of("plain band band rolled")
    f["hem_style"] = draw.of("straight straight straight curved dip")


def _hoodie(draw: Draw, f: dict, long: float, short: float) -> None:
    f["sleeve"], f["cuff"], f["hem_style"] = draw.of("straight raglan"), "rib", draw.of("rib rib straight")
    _arms(draw, f, draw.of(["long", "long", "long", "short"]), long, short)
    f["cuff"] = draw.of("rib rib plain")
    f |= {"collar": "hood", "neckline": "v", "depth": draw.between(6, 12)}
    f["length"] = float(draw.of("48 62 70 88")) + draw.between(-3, 3)
    f["closure"] = draw.of("none none zip zip")
    f["pockets"] = draw.of("kangaroo kangaroo welt none")


def _sweater(draw: Draw, f: dict, long: float, short: float) -> None:
    f["sleeve"] = draw.of("straight raglan dolman bishop bell puff")
    _arms(draw, f, draw.of(["long", "long", "elbow"]), long, short)
    f["cuff"] = draw.of("rib rib rolled plain")
    f["neckline"] = draw.of("crew crew v v boat scoop")
    f["depth"] = draw.between(6, 16) if f["neckline"] == "v" else draw.between(5, 9)
    f["collar"] = draw.of("none none turtle shawl")
    f["length"] = float(draw.of("46 56 64 72 90")) + draw.between(-3, 3)
    f["hem_style"] = draw.of("rib rib straight curved dip")
    f["pockets"] = draw.of("none none none patch")


def _cardigan(draw: Draw, f: dict, long: float, short: float) -> None:
    f["sleeve"] = draw.of("straight raglan bell dolman")
    _arms(draw, f, draw.of(["long", "long", "elbow"]), long, short)
    f["cuff"] = draw.of("rib plain rolled")
    f |= {"neckline": draw.of("v v crew"), "collar": draw.of("none none shawl")}
    f["depth"] = draw.between(14, 32) if f["neckline"] == "v" else draw.between(6, 9)
    f["length"] = float(draw.of("50 60 72 98")) + draw.between(-3, 3)
    f["closure"], f["buttons"] = draw.of("buttons buttons wrap"), int(draw.rng.integers(3, 8))
    f["hem_style"], f["pockets"] = draw.of("rib straight curved"), draw.of("none patch patch")
    f["belt"] = draw.of("none none tie")


def _vest(draw: Draw, f: dict, long: float, short: float) -> None:
    f |= {"sleeve": "none", "neckline": "v", "collar": draw.of("none none stand hood shirt notch")}
    f["depth"] = draw.between(14, 30) if f["collar"] in ("none", "notch") else draw.between(6, 9)
    f["length"] = float(draw.of("50 58 66 84")) + draw.between(-3, 3)
    f["closure"] = draw.of("buttons zip buttons double") if f["depth"] < 25 else "buttons"
    f["buttons"], f["pockets"] = int(draw.rng.integers(3, 7)), draw.of("none welt flap patch chest")
    f["hem_style"] = draw.of("straight zigzag rib curved")


def _jumpsuit(draw: Draw, f: dict, long: float, short: float) -> None:
    _dress(draw, f, long, short)
    f["rise"], f["hem_style"] = draw.between(38, 44), "straight"
    f["length"] = f["rise"] + (draw.between(92, 102) if draw.chance(0.7) else draw.between(38, 60))
    f["hip"] = f["waist"] + draw.between(4, 6)
    f["hem"], f["leg"] = draw.between(7, 20), draw.of("straight creased turnup elastic")
    f["closure"] = draw.of("none zip buttons wrap")


def _trousers(draw: Draw) -> dict:
    waist = draw.between(15, 20)
    hem = float(draw.of("6 8 10 13 17 22")) + draw.between(-0.8, 0.8)
    f = {"waist": waist, "hip": waist + draw.between(3.5, 9), "hem": hem}
    f["length"] = float(draw.of("66 78 90 104")) + draw.between(-4, 4)
    f |= {"leg": draw.of("straight straight creased turnup elastic ripped"), "rise": draw.between(22, 36)}
    f |= {
        "belt": draw.of("none none buckle drawstring sash tie"),
        "pockets": draw.of("none welt welt cargo patch flap"),
    }
    return f | {"closure": draw.of("zip zip buttons none"), "spread": draw.between(0.0, 0.14), "buttons": 3}


def _shorts(draw: Draw) -> dict:
    f = _trousers(draw)
    f |= {"length": f["rise"] + float(draw.of("7 16 28")) + draw.between(-1.5, 3), "hem": draw.between(10, 20)}
    return f | {"leg": draw.of("straight turnup creased elastic")}


def _skirt(draw: Draw) -> dict:
    length = float(draw.of("38 48 60 72 88 98")) + draw.between(-3, 3)
    f: dict = {"waist": draw.between(16, 20), "length": length}
    _skirt_shape(draw, f, length)
    f |= {"closure": draw.of("none none none buttons zip lace"), "buttons": int(draw.rng.integers(4, 9))}
    f |= {"belt": draw.of("none none buckle tie sash drawstring"), "pockets": draw.of("none none welt patch flap")}
    return f | {"hem_style": draw.of("straight straight frill dip slant zigzag"), "rise": 0.0}


def _dungarees(draw: Draw) -> dict:
    f = _trousers(draw)
    f |= {"belt": "none", "closure": "none", "pockets": draw.of("welt patch flap"), "depth": draw.between(22, 30)}
    if draw.chance(0.35):
        f |= {"length": draw.between(36, 50), "hem": draw.between(13, 17)}
    return f | {"leg": draw.of("straight turnup ripped"), "hem": max(f["hem"], 9.0)}


UPPER_RULES: dict[str, Callable[[Draw, dict, float, float], None]] = {
    "dress": _dress, "top": _top, "shirt": _shirt, "jacket": _jacket, "coat": _coat, "hoodie": _hoodie,
    "sweater": _sweater, "cardigan": _cardigan, "vest": _vest, "jumpsuit": _jumpsuit,
}  # fmt: skip
LOWER_RULES: dict[str, Callable[[Draw], dict]] = {
    "trousers": _trousers,
    "shorts": _shorts,
    "skirt": _skirt,
    "dungarees": _dungarees,
}
