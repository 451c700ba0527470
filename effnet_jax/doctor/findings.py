"""What the doctor can find: each kind with its severity, what it means and what to do."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

from effnet_jax.data.problems import CAUSES

FAULT, NOTE = "fault", "note"


@dataclass(frozen=True)
class Kind:
    """A kind of finding: how grave it is, what it is, and what to do about it."""

    severity: str
    meaning: str
    advice: str


# Both as "meaning: advice". The causes are what `read_folder` refuses, too.
_FAULTS = {
    **CAUSES,
    "counts": "counts that are not the published ones: fetch the data again, or do not call it by that name",
    "folders swapped": "sketch and photo folders exchanged: rename them: sketches A, photos B",
    "name differs": "sketch whose name misses that of its photo: rename it as proposed",
    "wrong split": "sketch whose photo is in the other split: move it there",
    "blank": "picture of one single colour: fetch it again, or remove it",
    "same photo in both splits": "photo with identical pixels in training and test: "
    "remove the training photo and its sketches",
    "same photo twice": "photos of one split with identical pixels: keep one, and name the sketches of both after it",
    "same sketch in both splits": "sketch with identical pixels in training and test: remove the training sketch",
    "same sketch twice": "sketches of one photo with identical pixels: keep one",
    "same sketch of two photos": "sketch with identical pixels for different photos: "
    "find out which photo was drawn, keep that one",
    "test photo elsewhere": "test photo with identical pixels among the photos of --against: "
    "do not train on those, or take it out of the test",
    "photo as sketch": "sketch and photo with identical pixels: replace the sketch by a drawing",
}
_NOTES = {
    "known variant": "counts of a known variant of the set: say so beside every result",
    "alike in both splits": "photo that is nearly the same in training and test: "
    "look at them; take the training photo out if they are one",
    "alike elsewhere": "test photo that is nearly the same as one of --against: "
    "look at them; do not train on that one if they are one",
    "not compared": "files of --against that no photo can be read from: convert them, or look at them yourself",
    "alike": "photos of one split that are nearly the same: look at them; keep one if they are one",
    "id in both splits": "photo id used in training and test: "
    "if it names the same object, take it out of the training part",
    "related ids": "photo ids that are versions (_v1, _v2) of one id, in training and test: "
    "if they show the same object, keep them in one split",
    "designers in both splits": "people who drew for training and for test: "
    "say that the test is on unseen photos, not on unseen hands; or divide by designer",
    "no sketch": "photo that nobody drew: none needed: it stays in the gallery",
    "tag spelt two ways": "one number as tag in two spellings: choose one: they count as two people",
    "ids nearly equal": "photo ids that differ only in spelling: rename one, or make them one photo",
    "fragile name": "name that does not survive every computer: "
    "rename it: no spaces at its ends, no control characters, composed (NFC) letters",
    "wrong extension": "extension that is not what the file contains: none needed; other tools may stumble",
    "transparent": "picture with transparent parts: none needed: it is put on white paper",
    "rotated": "picture that its EXIF data turn: none needed: it is turned; other tools may not",
    "animated": "animation: check that its first picture is the one that is meant",
    "unusual colours": "16-bit or CMYK picture: none needed: it is converted; check that it looks right",
    "light on dark": "sketch drawn light on dark: invert it if the others are dark on light",
    "not square": "picture that is not square: none needed: all are stretched to a square",
    "huge": "picture of more than 4096 pixels on a side: shrink it: it slows every first use",
    "tiny": "picture of less than 64 pixels on a side: fetch it in full size",
}


def _kinds(severity: str, texts: dict[str, str]) -> dict[str, Kind]:
    return {kind: Kind(severity, *(part.strip() for part in text.partition(":")[::2])) for kind, text in texts.items()}


KINDS = _kinds(FAULT, _FAULTS) | _kinds(NOTE, _NOTES)
"""Every kind by its name: faults first."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        kind: a key of `KINDS`.
        files: what it is about, as `trainA/1_1.png`; those of a pair or group together, in code point order.
        detail: what exactly, where the kind does not say it.
    """

    kind: str
    files: tuple[str, ...] = ()
    detail: str = ""

    @property
    def severity(self) -> str:
        """ "fault" or "note"."""
        return KINDS[self.kind].severity

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(KINDS[self.kind]), "kind": self.kind, "files": list(self.files), "detail": self.detail}


@dataclass(frozen=True)
class Report:
    """What an examination found.

    Attributes:
        root: the folder, or the name of a built set.
        dataset: the published set that it was held against; "" for none.
        counts: sketches and photos by split.
        files: pictures that were looked at.
        findings: in the order of `KINDS`, so faults first.
    """

    root: str
    dataset: str
    counts: dict[str, tuple[int, int]]
    files: int
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """What makes results wrong, or the data unusable."""
        return tuple(finding for finding in self.findings if finding.severity == FAULT)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """What is worth a look."""
        return tuple(finding for finding in self.findings if finding.severity == NOTE)

    def by_kind(self) -> dict[str, list[Finding]]:
        """The findings by kind, in their order."""
        return {kind: list(findings) for kind, findings in groupby(self.findings, key=lambda finding: finding.kind)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "root": self.root,
            "dataset": self.dataset or None,
            "counts": {name: {"sketches": s, "photos": p} for name, (s, p) in self.counts.items()},
            "files": self.files,
            "faults": len(self.faults),
            "notes": len(self.notes),
            "findings": [finding.to_dict() for finding in self.findings],
        }


def in_order(findings: list[Finding]) -> tuple[Finding, ...]:
    """By kind, faults first, then by file."""
    place = {kind: index for index, kind in enumerate(KINDS)}
    return tuple(sorted(findings, key=lambda f: (place[f.kind], f.files, f.detail)))
