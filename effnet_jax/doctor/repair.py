"""What becomes of each file in a cleaned copy: unusable ones left out, misnamed ones renamed, of twins one kept.

Only what is certain is decided. What could be meant in two ways is left out and named. Of training and test, the test
part keeps what both have, so that published test sets stay whole.
"""

import io
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from PIL import Image

from effnet_jax.data.folders import FOLDERS, split_sketch_name
from effnet_jax.data.problems import DataError
from effnet_jax.doctor.examine import Examination, examine
from effnet_jax.doctor.leakage import tags_are_people
from effnet_jax.doctor.listing import PHOTO, SKETCH, DataFile, Listing
from effnet_jax.doctor.name_faults import INVISIBLE
from effnet_jax.doctor.pictures import SUFFIXES
from effnet_jax.images.decode import FORMATS

_UNUSABLE = ("unreadable", "empty", "not an image", "damaged", "too large", "blank")
_STORED_ODDLY = ("transparent", "rotated", "animated", "unusual colours")


@dataclass
class Fate:
    """What becomes of one file.

    Attributes:
        file: which.
        split: where it goes.
        photo_id: the photo it belongs to, by its id in the copy.
        tag: of a sketch.
        why: of each change, in words.
        left_out: whether it is not copied.
        convert: whether it is stored anew, as a plain PNG.
        suffix: of its name in the copy.
    """

    file: DataFile
    split: str
    photo_id: str
    tag: str
    suffix: str
    why: list[str] = field(default_factory=list)
    left_out: bool = False
    convert: bool = False

    @property
    def target(self) -> str:
        """Its name in the copy, such as `trainA/1_1.png`."""
        folder = FOLDERS[self.split][self.file.role == PHOTO]
        stem = self.photo_id if self.file.role == PHOTO else f"{self.photo_id}_{self.tag}"
        return f"{folder}/{stem}{self.suffix}"

    def leave_out(self, why: str) -> None:
        """Decide that it is not copied."""
        self.left_out = True
        self.why.append(why)


def plan_repairs(examination: Examination) -> list[Fate]:
    """Decide what becomes of each file; nothing is written.

    Raises:
        DataError: the records of a built set, which have no files to copy.
    """
    if any(file.path is None for file in examination.listing.files):
        raise DataError(f"{examination.listing.root} is a built set; a cleaned copy can be made of a folder only")
    exchanged = [f.files for f in examination.report.findings if f.kind == "folders swapped"]
    if swapped := {split for split in FOLDERS if FOLDERS[split] in exchanged}:
        examination = examine(_exchanged(examination.listing, swapped))
    own: dict[str, dict[str, str]] = defaultdict(dict)  # file -> kind -> detail
    for finding in examination.report.findings:
        if len(finding.files) == 1:
            own[finding.files[0]][finding.kind] = finding.detail
    fates = [_first_fate(file, own[file.name], examination) for file in examination.listing.files]
    for steps in (_merge_photos, _follow_photos, _merge_sketches, _resolve_clashes):
        steps(fates, examination)
    for fate in fates:
        if not fate.left_out and fate.target != fate.file.name:
            fate.why = fate.why or ["renamed"]
    return fates


def _exchanged(listing: Listing, splits: set[str]) -> Listing:
    def exchange(file: DataFile) -> DataFile:
        if file.split not in splits:
            return file
        if file.role == SKETCH:
            return replace(file, role=PHOTO, photo_id=file.stem, tag="")
        photo_id, _, tag = file.stem.rpartition("_")
        return replace(file, role=SKETCH, photo_id=photo_id if tag else "", tag=tag)

    return replace(listing, files=tuple(exchange(file) for file in listing.files))


def _first_fate(file: DataFile, own: dict[str, str], examination: Examination) -> Fate:
    """What a file's own state and name decide; `own` are the details of its findings by kind."""
    fate = Fate(file, file.split, file.photo_id, file.tag, file.path.suffix if file.path else "")
    for kind in _UNUSABLE:
        if kind in own:
            fate.leave_out(f"{kind} {own[kind]}".strip())
            return fate
    if any(kind in own for kind in _STORED_ODDLY):
        fate.convert, fate.suffix = True, ".png"
        fate.why += [f"{kind}: stored anew" for kind in _STORED_ODDLY if kind in own]
    elif "wrong extension" in own:
        fate.suffix = _suffix_of(file.read())
        fate.why.append(f"extension: {own['wrong extension']}")
    if file.role == SKETCH:
        if file.name in examination.names.proposed:
            fate.photo_id, fate.tag = split_sketch_name(examination.names.proposed[file.name])
            fate.why.append(own["name differs"])
        elif file.name in examination.names.moved:
            fate.split = examination.names.moved[file.name]
            fate.why.append(own["wrong split"])
    return fate


def _suffix_of(data: bytes) -> str:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return SUFFIXES[image.format or ""][0]


def _merge_photos(fates: list[Fate], examination: Examination) -> None:
    """One photo for each id, and one for each picture; sketches follow in the next step."""
    pixels = {look.file.name: look.pixels for look in examination.looks}
    alike = {f.files for f in examination.report.findings if f.kind == "alike"}
    photos = [fate for fate in fates if fate.file.role == PHOTO]
    for group in _groups(photos, lambda fate: (fate.split, fate.photo_id)):
        first = group[0]
        same = all(
            pixels[o.file.name] == pixels[first.file.name] or (first.file.name, o.file.name) in alike for o in group[1:]
        )
        for fate in group[1:] if same else group:
            fate.leave_out(f"id used twice; kept {first.file.name}" if same else "id of two different photos")
    for group in _groups(photos, lambda fate: (fate.split, pixels[fate.file.name])):
        for fate in group[1:]:
            fate.leave_out(f"same picture as {group[0].file.name}, which takes its sketches")
            _adopt(fates, fate, group[0])
    for group in _groups(photos, lambda fate: pixels[fate.file.name]):
        _keep_for_test(group, "picture")


def _keep_for_test(group: list[Fate], what: str) -> list[Fate]:
    """Give those that stay of files with the same pixels: where the test part has some, training's are left out."""
    tested = [fate for fate in group if fate.split == "test"]
    for fate in group if tested else ():
        if fate.split == "train":
            fate.leave_out(f"same {what} as {tested[0].file.name}")
    return tested or group


def _adopt(fates: list[Fate], old: Fate, new: Fate) -> None:
    for fate in fates:
        if fate.file.role == SKETCH and (fate.split, fate.photo_id) == (old.split, old.photo_id):
            fate.photo_id = new.photo_id
            fate.why.append(f"{old.file.name} is the same picture as {new.file.name}")


def _follow_photos(fates: list[Fate], examination: Examination) -> None:
    """Leave out the sketches whose photo is not there; give every photo a name that survives, and its sketches too."""
    photos = [fate for fate in fates if fate.file.role == PHOTO]
    known = {(fate.split, fate.photo_id) for fate in photos}
    sturdy = {key: (key[0], _sturdy(key[1])) for key in {(f.split, f.photo_id) for f in photos if not f.left_out}}
    uses = Counter(sturdy.values())
    for fate in fates:
        key = fate.split, fate.photo_id
        if fate.left_out:
            continue
        if key not in sturdy:
            fate.leave_out("its photo is left out" if key in known else "no photo")
            continue
        if sturdy[key][1] and uses[sturdy[key]] == 1:
            fate.photo_id = sturdy[key][1]
        fate.tag = _sturdy(fate.tag) or fate.tag


def _sturdy(text: str) -> str:
    """The name without what other computers change or do not show."""
    visible = "".join(c for c in text if unicodedata.category(c) not in INVISIBLE)
    return unicodedata.normalize("NFC", visible).strip()


def _merge_sketches(fates: list[Fate], examination: Examination) -> None:
    """Each drawing once; what is no drawing, or belongs to two photos, is left out."""
    pixels = {look.file.name: look.pixels for look in examination.looks}
    photographed = {pixels[fate.file.name] for fate in fates if fate.file.role == PHOTO}
    sketches = [fate for fate in fates if fate.file.role == SKETCH and not fate.left_out]
    for fate in sketches:
        if pixels[fate.file.name] in photographed:
            fate.leave_out("a photo, not a drawing")
    for group in _groups(sketches, lambda fate: pixels[fate.file.name]):
        rest = _keep_for_test(group, "drawing")
        several = len({fate.photo_id for fate in rest}) > 1
        for fate in rest if several else rest[1:]:
            fate.leave_out("one drawing of two photos" if several else f"same drawing as {rest[0].file.name}")


def _resolve_clashes(fates: list[Fate], examination: Examination) -> None:
    """Another tag for a different drawing that would take a name already given: the next number, or `<tag>-2`."""
    people = tags_are_people(examination.listing)
    sketches = [fate for fate in fates if fate.file.role == SKETCH and not fate.left_out]
    taken: set[tuple[str, str, str]] = set()
    changed = [fate for fate in sketches if fate.target.rpartition(".")[0] != fate.file.name.rpartition(".")[0]]
    for fate in [fate for fate in sketches if fate not in changed] + changed:
        tag, count = fate.tag, 2
        while (fate.split, fate.photo_id, fate.tag) in taken:
            fate.tag, count = (f"{tag}-{count}" if people else str(count)), count + 1
        if fate.tag != tag:
            fate.why.append(f"another drawing is called {fate.photo_id}_{tag}")
        taken.add((fate.split, fate.photo_id, fate.tag))


def _groups(fates: Iterable[Fate], key: Callable[[Fate], object]) -> list[list[Fate]]:
    """Those kept so far that share a key, two or more of them."""
    groups = defaultdict(list)
    for fate in fates:
        if not fate.left_out:
            groups[key(fate)].append(fate)
    return [group for group in groups.values() if len(group) > 1]
