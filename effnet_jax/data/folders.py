"""Folders of sketches and photos: walk, pair, check. No JAX, no TFDS.

The layout is `trainA/` sketches, `trainB/` photos, `testA/` and `testB/` likewise. A photo is `<id>.<extension>`, a
sketch `<id>_<tag>.<extension>`, split at the LAST underscore; the extension starts at the last dot.

Nothing is skipped in silence: a file that is neither a picture nor a known leftover of an operating system is an error,
because a sketch that is lost without a word changes every score.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from effnet_jax.data.problems import DataError, Problems, shown_path
from effnet_jax.images.decode import DecodeError, decode_rgb
from effnet_jax.runtime.progress import in_threads, track

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FOLDERS = {"train": ("trainA", "trainB"), "test": ("testA", "testB")}
_LEFTOVERS = {"thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class SketchFile:
    """A sketch: the photo it was drawn from, who drew it (`tag`), and the file (`sha256` once it was read)."""

    sketch_id: str
    photo_id: str
    tag: str
    path: Path
    sha256: str = ""


@dataclass(frozen=True)
class PhotoFile:
    """A photo of the gallery and its file."""

    photo_id: str
    path: Path
    sha256: str = ""


@dataclass(frozen=True)
class FolderSplit:
    """One split, both parts in code point order of their ids; photos without a sketch included."""

    name: str
    sketches: tuple[SketchFile, ...]
    photos: tuple[PhotoFile, ...]

    @property
    def sha256(self) -> str:
        """The split hash, see `split_hash`."""
        return split_hash(
            [hash_line("sketch", sketch.sketch_id, sketch.sha256) for sketch in self.sketches]
            + [hash_line("photo", photo.photo_id, photo.sha256) for photo in self.photos]
        )


def read_folder(root: Path | str, *, tag: str | None = None, check_images: bool = True) -> dict[str, FolderSplit]:
    """Read a folder in the trainA/trainB/testA/testB layout and check all of it.

    Args:
        root: the folder that holds trainA and trainB; testA and testB may be absent, but only both together.
        tag: keep only the sketches with this tag.
        check_images: decode every file in full. Without it the files are hashed and their names checked, no more.

    Returns:
        "train" and, where its folders exist, "test"; every file with its SHA-256.

    Raises:
        DataError: with every offending path, grouped by cause.
    """
    root = Path(root)
    problems = Problems(root)
    splits = {name: _pair(name, root, tag, problems) for name in split_names(root, problems)}
    splits = _read_files(splits, check_images, problems)
    problems.raise_if_any()
    return splits


def split_names(root: Path, problems: Problems) -> list[str]:
    """The splits that a folder has or should have; its missing folders are noted as problems."""
    wanted = [name for name, folders in FOLDERS.items() if name == "train" or any((root / f).is_dir() for f in folders)]
    missing = [root / folder for name in wanted for folder in FOLDERS[name] if not (root / folder).is_dir()]
    if missing:
        detail = "the whole folder is missing"
        if root.is_dir():
            present = sorted(entry.name for entry in root.iterdir())
            detail = f"{shown_path(root)} holds {', '.join(present[:8]) or 'nothing'}"
        for path in missing:
            problems.add("missing", path, detail if path == missing[0] else "")  # it is about the folder above
    return wanted


def pictures_in(folder: Path, problems: Problems) -> list[Path]:
    """The picture files of one folder, by name; whatever else lies there is noted as a problem, unless a leftover."""
    if not folder.is_dir():
        return []
    pictures = []
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        if not is_picture_name(path.name):
            continue
        if path.is_dir():
            problems.add("subfolder", path)
        elif not path.is_file():
            problems.add("not a file", path)
        elif not _is_utf8(path.name):
            problems.add("bad name", path)
        elif path.suffix.lower() not in EXTENSIONS:
            problems.add("unknown file", path)
        else:
            pictures.append(path)
    return pictures


def split_sketch_name(stem: str) -> tuple[str, str]:
    """The photo id and the tag of a sketch's name (without extension), split at the last underscore.

    Raises:
        ValueError: "no underscore", "empty id" or "empty tag".
    """
    photo_id, underscore, tag = stem.rpartition("_")
    for part, fault in ((underscore, "no underscore"), (photo_id, "empty id"), (tag, "empty tag")):
        if not part:
            raise ValueError(fault)
    return photo_id, tag


def is_picture_name(name: str) -> bool:
    """Whether a file of this name belongs to the data: False for hidden files and system leftovers.

    An unknown extension counts as belonging, so that it is reported rather than passed over.
    """
    return not name.startswith(".") and name.lower() not in _LEFTOVERS


def choose_photos(photo_ids: Iterable[str], share: float, seed: int) -> tuple[str, ...]:
    """A seeded share of photo ids, in code point order.

    An id is chosen by its own hash: the choice does not depend on the order of the ids or on a library's random stream,
    and stays nearly the same when photos are added.

    Args:
        photo_ids: ids without repetition.
        share: in (0, 1); rounded to whole photos, at least one.
        seed: any whole number.
    """
    ids = sorted(photo_ids)
    if not 0.0 < share < 1.0:
        raise ValueError(f"the share of photos must lie between 0 and 1, got {share}")
    count = max(1, round(share * len(ids)))
    by_hash = sorted(ids, key=lambda photo_id: hashlib.sha256(f"{seed}:{photo_id}".encode()).digest())
    return tuple(sorted(by_hash[:count]))


def split_by_photo(split: FolderSplit, share: float, seed: int) -> tuple[FolderSplit, FolderSplit]:
    """Divide a split into "train" and "test" so that no photo is in both.

    Photos with and without sketches are divided apart, so that both parts have sketches.

    Args:
        split: the whole.
        share: the part of the photos that becomes "test", in (0, 1).
        seed: of the choice, see `choose_photos`.

    Raises:
        DataError: fewer than two photos have sketches.
    """
    drawn = {sketch.photo_id for sketch in split.sketches}
    undrawn = {photo.photo_id for photo in split.photos} - drawn
    if len(drawn) < 2:
        raise DataError(f"dividing needs two photos with sketches or more, {split.name} has {len(drawn)}")
    chosen = set(choose_photos(drawn, share, seed))
    if len(chosen) == len(drawn):
        chosen.remove(max(chosen))
    if undrawn:
        chosen |= set(choose_photos(undrawn, share, seed))

    def part(name: str, inside: bool) -> FolderSplit:
        return FolderSplit(
            name,
            tuple(sketch for sketch in split.sketches if (sketch.photo_id in chosen) == inside),
            tuple(photo for photo in split.photos if (photo.photo_id in chosen) == inside),
        )

    return part("train", False), part("test", True)


def hash_line(role: str, file_id: str, sha256: str) -> str:
    """One file's line in the split hash; `role` is "sketch" or "photo"."""
    return f"{role} {file_id} {sha256}"


def split_hash(lines: Iterable[str]) -> str:
    """SHA-256 of the sorted lines `role id sha256(file)`, each ended by a newline (as `LC_ALL=C sort | sha256sum`)."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()


def _is_utf8(name: str) -> bool:
    return name.encode(errors="ignore").decode() == name


def _pair(name: str, root: Path, tag: str | None, problems: Problems) -> FolderSplit:
    sketch_folder, photo_folder = (root / folder for folder in FOLDERS[name])
    photos = [PhotoFile(path.stem, path) for path in pictures_in(photo_folder, problems)]
    sketches = []
    for path in pictures_in(sketch_folder, problems):
        try:
            photo_id, its_tag = split_sketch_name(path.stem)
        except ValueError as error:
            problems.add(str(error), path)
        else:
            sketches.append(SketchFile(path.stem, photo_id, its_tag, path))
    _report_repeated("photo twice", [(photo.photo_id, photo.path) for photo in photos], problems)
    _report_repeated("sketch twice", [(sketch.sketch_id, sketch.path) for sketch in sketches], problems)
    photo_ids = {photo.photo_id for photo in photos}
    for sketch in sketches:
        if sketch.photo_id not in photo_ids:
            problems.add("no photo", sketch.path)
    kept = [sketch for sketch in sketches if tag is None or sketch.tag == tag]
    if sketch_folder.is_dir() and photo_folder.is_dir() and not any(sketch.photo_id in photo_ids for sketch in kept):
        problems.add("no pairs", sketch_folder, "" if tag is None else f"among the sketches tagged {tag!r}")
    return FolderSplit(
        name,
        tuple(sorted(kept, key=lambda sketch: sketch.sketch_id)),
        tuple(sorted(photos, key=lambda photo: photo.photo_id)),
    )


def _report_repeated(cause: str, named: Sequence[tuple[str, Path]], problems: Problems) -> None:
    times = Counter(file_id for file_id, _ in named)
    for file_id, path in named:
        if times[file_id] > 1:
            problems.add(cause, path)


def _read_files(splits: dict[str, FolderSplit], check_images: bool, problems: Problems) -> dict[str, FolderSplit]:
    files = [file for split in splits.values() for file in (*split.sketches, *split.photos)]
    results = in_threads(lambda file: _read_file(file.path, check_images), files)
    what = "checking pictures" if check_images else "hashing pictures"
    hashes = {}
    for file, (sha256, cause, detail) in zip(files, track(results, total=len(files), description=what), strict=True):
        hashes[file.path] = sha256
        if cause:
            problems.add(cause, file.path, detail)
    return {
        name: FolderSplit(
            name,
            tuple(replace(sketch, sha256=hashes[sketch.path]) for sketch in split.sketches),
            tuple(replace(photo, sha256=hashes[photo.path]) for photo in split.photos),
        )
        for name, split in splits.items()
    }


def _read_file(path: Path, check_image: bool) -> tuple[str, str, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        return "", "unreadable", error.strerror or str(error)
    sha256 = hashlib.sha256(data).hexdigest()
    if check_image:
        try:
            decode_rgb(data)
        except DecodeError as error:
            return sha256, error.reason, "" if error.reason in ("empty", "not an image") else error.detail
    return sha256, "", ""
