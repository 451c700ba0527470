"""Which sketch belongs to which photo, and what a name that fits none was probably meant to be."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from effnet_jax.data.folders import FOLDERS, split_sketch_name
from effnet_jax.doctor.findings import Finding
from effnet_jax.doctor.listing import PHOTO, SKETCH, DataFile, Listing

# What two spellings of one id may differ in, from what differs by accident to what may be meant.
_STEPS: dict[str, Callable[[str], str]] = {
    "Unicode form": lambda text: unicodedata.normalize("NFKC", text),
    "case": str.casefold,
    "spaces": lambda text: re.sub(r"\s+", "", text),
    "leading zeros": lambda text: re.sub(r"(?<!\d)0+(?=\d)", "", text),
    "hyphens, dots and underscores": lambda text: re.sub(r"[-._–—]+", "", text),
}
_SAME_ID = ("Unicode form", "case", "spaces", "leading zeros")  # 1_2 and 12 are two ids
INVISIBLE = ("Cc", "Cf", "Co", "Cn")  # Unicode categories
_OTHER_MARK = re.compile(r"(?P<id>.+?)[-. ]+\(?(?P<tag>[^-. ()_]+)\)?$")  # 12-1, 12.1, 12 (1)


@dataclass(frozen=True)
class Names:
    """What the names of a listing say.

    Attributes:
        findings: about names.
        proposed: by the name of a sketch file that fits no photo, the stem that would.
        moved: by the name of a sketch file whose photo is in the other split, that split.
    """

    findings: tuple[Finding, ...]
    proposed: Mapping[str, str]
    moved: Mapping[str, str]


def check_names(listing: Listing) -> Names:
    """Pair sketches with photos by name, and say what does not fit."""
    findings: list[Finding] = []
    proposed: dict[str, str] = {}
    moved: dict[str, str] = {}
    photo_ids = {split: {file.stem for file in listing.part(split, PHOTO)} for split in listing.splits}
    for split in listing.splits:
        findings += _repeated(listing, split)
        if _swapped(listing, split):
            findings.append(Finding("folders swapped", FOLDERS[split]))
            continue
        sketches, photos = listing.part(split, SKETCH), listing.part(split, PHOTO)
        findings += filter(None, [_unpaired(file, photo_ids, proposed, moved) for file in sketches])
        drawn = {file.photo_id for file in sketches}
        meant = {split_sketch_name(proposed[file.name])[0] for file in sketches if file.name in proposed}
        findings += [Finding("no sketch", (file.name,)) for file in photos if file.stem not in drawn | meant]
        said = not (sketches and photos) and any(  # that a folder is missing
            f.kind == "missing" and f.files[0] in FOLDERS[split] for f in listing.findings
        )
        if not said and not drawn & photo_ids[split]:
            findings.append(Finding("no pairs", (FOLDERS[split][0],)))
        findings += _nearly_equal(photos)
    findings += _two_spellings(listing)
    findings += [Finding("fragile name", (f.name,), why) for f in listing.files for why in _fragile(f.stem)]
    return Names(tuple(findings), proposed, moved)


def spelling_difference(one: str, other: str) -> tuple[str, ...] | None:
    """What two names differ in, such as ("case", "spaces"); None where they differ in more than spelling."""
    if not _folded(one, _STEPS) or _folded(one, _STEPS) != _folded(other, _STEPS):
        return None
    others = {step: [name for name in _STEPS if name != step] for step in _STEPS}
    needed = tuple(step for step in _STEPS if _folded(one, others[step]) != _folded(other, others[step]))
    if needed or one == other:
        return needed
    # two steps can undo the same difference: folding the case of some letters decomposes them
    return next(((step,) for step, fold in _STEPS.items() if fold(one) == fold(other)), tuple(_STEPS))


def _folded(text: str, steps: Iterable[str]) -> str:
    for step in steps:
        text = _STEPS[step](text)
    return text


def _repeated(listing: Listing, split: str) -> list[Finding]:
    findings = []
    for role, kind in ((SKETCH, "sketch twice"), (PHOTO, "photo twice")):
        by_stem = defaultdict(list)
        for file in listing.part(split, role):
            by_stem[file.stem].append(file.name)
        findings += [Finding(kind, tuple(sorted(names))) for names in by_stem.values() if len(names) > 1]
    return findings


def _swapped(listing: Listing, split: str) -> bool:
    """Not one pair as they lie, but most pair when sketches and photos change places."""
    sketches, photos = listing.part(split, SKETCH), listing.part(split, PHOTO)
    if {file.photo_id for file in sketches} & {file.stem for file in photos}:
        return False
    ids = {file.stem for file in sketches}
    return bool(photos) and sum(file.stem.rpartition("_")[0] in ids for file in photos) > len(photos) / 2


def _unpaired(
    file: DataFile, photo_ids: Mapping[str, set[str]], proposed: dict[str, str], moved: dict[str, str]
) -> Finding | None:
    own = photo_ids[file.split]
    if file.photo_id in own:
        return None
    fitting = _fitting_stems(file.stem, own)
    if len(fitting) == 1:
        (stem, why), *_ = fitting.items()
        proposed[file.name] = stem
        suffix = "" if file.path is None else file.path.suffix
        return Finding("name differs", (file.name,), f"{why}: rename it {stem}{suffix}")
    for split, ids in photo_ids.items():
        if file.photo_id in ids:
            moved[file.name] = split
            return Finding("wrong split", (file.name,), f"its photo is in {FOLDERS[split][1]}")
    could = f"could belong to {', '.join(sorted(split_sketch_name(stem)[0] for stem in fitting))}" if fitting else ""
    if file.photo_id:
        return Finding("no photo", (file.name,), could)
    try:
        split_sketch_name(file.stem)
    except ValueError as error:
        return Finding(str(error), (file.name,), could)
    raise AssertionError("a sketch without a photo id has a name that cannot be split")


def _fitting_stems(stem: str, photo_ids: set[str]) -> dict[str, str]:
    """Stems that would pair, and what the given one differs in; those of the smallest difference only."""
    if stem in photo_ids:
        return {f"{stem}_1": "has no tag, only the id of its photo"}
    readings = []
    photo_id, underscore, tag = stem.rpartition("_")
    if underscore and photo_id and tag:
        readings.append((photo_id, tag, "differs in"))
    if match := _OTHER_MARK.match(stem):
        readings.append((match["id"], match["tag"], "has no underscore before its tag; differs in"))
    if not underscore:
        readings.append((stem, "1", "has no tag; differs in"))
    for photo_id, tag, what in readings:
        if photo_id in photo_ids:
            return {f"{photo_id}_{tag}": what.partition(";")[0]}
    found: dict[str, tuple[int, str]] = {}
    for photo_id, tag, what in readings:
        for candidate in photo_ids:
            difference = spelling_difference(photo_id, candidate)
            if difference is not None:
                found.setdefault(f"{candidate}_{tag}", (len(difference), f"{what} {' and '.join(difference)}"))
    least = min((count for count, _ in found.values()), default=0)
    return {stem: why for stem, (count, why) in found.items() if count == least}


def _nearly_equal(photos: list[DataFile]) -> list[Finding]:
    by_folded: dict[str, list[DataFile]] = defaultdict(list)
    for file in photos:
        by_folded[_folded(file.stem, _SAME_ID)].append(file)
    findings = []
    for files in by_folded.values():
        stems = sorted({file.stem for file in files})
        if len(stems) > 1:
            different = dict.fromkeys(s for stem in stems[1:] for s in spelling_difference(stems[0], stem) or ())
            names = tuple(sorted(file.name for file in files))
            findings.append(Finding("ids nearly equal", names, f"differ in {' and '.join(different)}"))
    return findings


def _two_spellings(listing: Listing) -> list[Finding]:
    spellings: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in listing.files:
        if file.role == SKETCH and re.fullmatch(r"[0-9]+", file.tag):
            spellings[int(file.tag)][file.tag].append(file.name)
    findings = []
    for spelt in spellings.values():
        usual = max(spelt, key=lambda tag: (len(spelt[tag]), tag))
        others = [tag for tag in spelt if tag != usual]
        usually = f"{usual} in {len(spelt[usual])} names"
        findings += [
            Finding("tag spelt two ways", tuple(sorted(spelt[tag])), f"{tag} here, {usually}") for tag in others
        ]
    return findings


def _fragile(stem: str) -> list[str]:
    reasons = {
        "letters in decomposed Unicode form": unicodedata.normalize("NFC", stem) != stem,
        "space at an end": stem != stem.strip(),
        "invisible character": any(unicodedata.category(letter) in INVISIBLE for letter in stem),
    }
    return [reason for reason, holds in reasons.items() if holds]
