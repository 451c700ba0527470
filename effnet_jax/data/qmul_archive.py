"""What lies where in an original archive of QMUL-Shoe-V2 or QMUL-Chair-V2. No JAX.

An archive holds a folder of photos, a folder of sketches as SVG, and four lists of names: photos and sketches of
training and test. The parts are found by what they contain, not by where they lie.
"""

import os
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from effnet_jax.data.folders import EXTENSIONS, is_picture_name, split_sketch_name
from effnet_jax.data.problems import DataError
from effnet_jax.storage.files import DAMAGED_ZIP

Files = Mapping[PurePosixPath, Callable[[], bytes]]
"""What an archive holds, by its path inside."""

SPLITS = ("train", "test")

_ENDINGS = (*EXTENSIONS, ".svg")
_PLURAL = {"photo": "photos", "sketch": "sketches"}


@dataclass(frozen=True)
class QmulArchive:
    """The parts of an archive.

    Attributes:
        lists: names without extension, by role ("photo", "sketch") and split ("train", "test").
        photos: the photo files by stem.
        sketches: the sketch files by stem.
        found: what was taken for what, for the reader of a report.
        lacking: what the lists name and the archive does not hold, or what contradicts itself; sentences.
    """

    lists: Mapping[tuple[str, str], Sequence[str]]
    photos: Mapping[str, PurePosixPath]
    sketches: Mapping[str, PurePosixPath]
    found: tuple[str, ...]
    lacking: tuple[str, ...]


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[Files]:
    """The files of a folder or a zip file; nothing is unpacked.

    Raises:
        DataError: neither a folder nor a zip file.
    """
    path = Path(path)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.is_file())
        yield {PurePosixPath(file.relative_to(path).as_posix()): file.read_bytes for file in found if _wanted(file)}
    elif zipfile.is_zipfile(path):
        with _whole(path):
            opened = zipfile.ZipFile(path)
        with opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            named = {PurePosixPath(entry.filename.replace("\\", "/")): entry for entry in entries}
            yield {name: partial(_read, path, opened, entry) for name, entry in named.items() if _wanted(name)}
    elif path.exists():
        raise DataError(f"{path} is no folder and no whole zip file; fetch it again, or unpack it and name the folder")
    else:
        raise DataError(f"{path} does not exist")


def _read(path: Path, opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with _whole(path):
        return opened.read(entry)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    try:
        yield
    except DAMAGED_ZIP as error:
        raise DataError(f"{path} is damaged or cut off ({error}); fetch it again") from error


def find_parts(files: Files) -> QmulArchive:
    """Find lists, photos and sketches by their contents.

    Raises:
        DataError: a part is missing altogether.
    """
    lists, found = _find_lists(files)
    drawings, rasters = _by_folder(files, (".svg",)), _by_folder(files, EXTENSIONS)
    photo_names = {name for split in SPLITS for name in lists["photo", split]}
    photo_folder, photos = _best_folder(rasters, photo_names)
    ids = {split: set(lists["photo", split]) for split in SPLITS}
    if ("sketch", "train") in lists:
        sketch_names = {name for split in SPLITS for name in lists["sketch", split]}
    else:
        stems = {stem for folder in (*drawings.values(), *rasters.values()) for stem in folder}
        sketch_names = {stem for stem in stems - photo_names if photo_of(stem) in photo_names}
        for split in SPLITS:
            lists["sketch", split] = sorted(stem for stem in sketch_names if photo_of(stem) in ids[split])
        found.append("sketches divided like their photos, since there are no lists of sketches")
    sketch_folder, sketches = _best_folder(drawings, sketch_names)
    if not sketches:
        others = {folder: stems for folder, stems in rasters.items() if folder != photo_folder}
        sketch_folder, sketches = _best_folder(others, sketch_names)
    for what, folder, kept in (("photos", photo_folder, photos), ("sketches", sketch_folder, sketches)):
        if not kept:
            raise DataError(f"no {what} of the lists are in the archive; it holds {_overview(files)}")
        found.append(f"{what}: {len(kept)} files in {folder}")
    return QmulArchive(lists, photos, sketches, tuple(found), tuple(_lacking(lists, photos, sketches)))


def _wanted(path: Path | PurePosixPath) -> bool:
    return is_picture_name(path.name) and "__MACOSX" not in path.parts


def _find_lists(files: Files) -> tuple[dict[tuple[str, str], list[str]], list[str]]:
    candidates = defaultdict(list)
    for path in files:
        name = path.name.lower()
        roles = [role for role in ("photo", "sketch") if role in name]
        splits = [split for split in SPLITS if split in name]
        if path.suffix.lower() == ".txt" and len(roles) == len(splits) == 1:
            candidates[roles[0], splits[0]].append(path)
    needed = [("photo", split) for split in SPLITS]
    if any(("sketch", split) in candidates for split in SPLITS):
        needed += [("sketch", split) for split in SPLITS]
    missing = [f"{role}_{split}.txt" for role, split in needed if (role, split) not in candidates]
    several = [" and ".join(map(str, paths)) for paths in candidates.values() if len(paths) > 1]
    if missing or several:
        lines = [f"lists that were not found: {', '.join(missing)}"] if missing else []
        lines += [f"more than one list for one purpose: {paths}" for paths in several]
        raise DataError("; ".join(lines) + f". The archive holds {_overview(files)}")
    lists = {key: _names(files[candidates[key][0]]()) for key in needed}
    return lists, [f"{_PLURAL[key[0]]} of {key[1]}: {len(lists[key])} names in {candidates[key][0]}" for key in needed]


def _names(text: bytes) -> list[str]:
    """The stems a list names: one per line, with or without folder and extension, under any line ending."""
    lines = [line.strip().replace("\\", "/") for line in text.decode("utf-8-sig", "replace").splitlines()]
    return list(dict.fromkeys(_stem(PurePosixPath(line)) for line in lines if line))


def _stem(path: PurePosixPath) -> str:
    return path.stem if path.suffix.lower() in _ENDINGS else path.name


def photo_of(stem: str) -> str:
    """The photo that a sketch of this name was drawn from; "" where the name does not say."""
    return stem.rpartition("_")[0]


def _by_folder(files: Files, suffixes: Sequence[str]) -> dict[PurePosixPath, dict[str, PurePosixPath]]:
    folders: dict[PurePosixPath, dict[str, PurePosixPath]] = defaultdict(dict)
    for path in files:
        if path.suffix.lower() in suffixes:
            folders[path.parent].setdefault(path.stem, path)
    return folders


def _best_folder(
    folders: Mapping[PurePosixPath, Mapping[str, PurePosixPath]], names: set[str]
) -> tuple[PurePosixPath | None, dict[str, PurePosixPath]]:
    """The folder with most of the names (edge maps only where there is no other), and what it holds of them."""

    def worth(folder: PurePosixPath) -> tuple[bool, bool, int, int, str]:
        held = len(folders[folder].keys() & names)
        return held == 0, "edge" in folder.name.lower(), -held, len(str(folder)), str(folder)

    best = min(folders, key=worth, default=None)
    return best, {stem: path for stem, path in (folders[best] if best is not None else {}).items() if stem in names}


def _lacking(
    lists: Mapping[tuple[str, str], Sequence[str]],
    photos: Mapping[str, PurePosixPath],
    sketches: Mapping[str, PurePosixPath],
) -> Iterator[str]:
    """Sentences on what the lists name and the archive does not hold, or what contradicts itself."""
    for role, there in (("photo", photos), ("sketch", sketches)):
        for split in SPLITS:
            yield from (f"{role} without a file: {name} ({split})" for name in lists[role, split] if name not in there)
        for name in sorted(set(lists[role, "train"]) & set(lists[role, "test"])):
            yield f"{role} in both lists: {name}"
    for split in SPLITS:
        ids = set(lists["photo", split])
        for name in lists["sketch", split]:
            try:
                photo_id, _ = split_sketch_name(name)
            except ValueError as error:
                yield f"sketch name with {error}: {name} ({split})"
                continue
            if photo_id not in ids:
                yield f"sketch whose photo is not in the list of its split: {name} ({split})"


def _overview(files: Files) -> str:
    """What an archive holds, in a few words."""
    kinds = Counter((str(path.parent), path.suffix.lower() or "no extension") for path in files)
    listed = [f"{count} {suffix} in {folder}" for (folder, suffix), count in kinds.most_common(8)]
    return ", ".join(listed) or "nothing"
