"""What there is to examine: the files of a folder, or the records of a built set, under one form."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from effnet_jax.data.folders import FOLDERS, pictures_in, split_names, split_sketch_name
from effnet_jax.data.problems import Problems, shown_path
from effnet_jax.data.split import Split
from effnet_jax.doctor.findings import Finding

SKETCH, PHOTO = "sketch", "photo"


@dataclass(frozen=True)
class DataFile:
    """One picture file.

    Attributes:
        name: as findings show it, `trainA/1_1.png`.
        split: "train" or "test".
        role: "sketch" or "photo".
        stem: name without folder and extension: the id of a photo, or the name of a sketch.
        photo_id: which photo it belongs to; of a sketch what stands before its last underscore, "" where that is none.
        tag: of a sketch.
        read: its bytes.
        path: where it is; None for a record of a built set.
    """

    name: str
    split: str
    role: str
    stem: str
    photo_id: str
    tag: str
    read: Callable[[], bytes]
    path: Path | None = None


@dataclass(frozen=True)
class Listing:
    """Everything that is to be examined, in the order of the names, and what listing it has found already."""

    root: str
    splits: tuple[str, ...]
    files: tuple[DataFile, ...]
    findings: tuple[Finding, ...] = ()

    def part(self, split: str, role: str) -> list[DataFile]:
        """The sketches or the photos of a split."""
        return [file for file in self.files if file.split == split and file.role == role]


def list_folder(root: Path | str) -> Listing:
    """List a folder in the trainA/trainB/testA/testB layout; whatever is no picture becomes a finding."""
    root = Path(root)
    problems = Problems(root)
    splits = split_names(root, problems)
    files = []
    for split in splits:
        for folder, role in zip(FOLDERS[split], (SKETCH, PHOTO), strict=True):
            files += [_file(root, path, split, role) for path in pictures_in(root / folder, problems)]
    findings = [
        Finding(cause, (_name(root, path),), detail)
        for cause, entries in problems.noted.items()
        for path, detail in entries
    ]
    return Listing(str(root), tuple(splits), tuple(files), tuple(findings))


def list_splits(name: str, splits: Mapping[str, Split]) -> Listing:
    """List a built set by its records, under the names that its files would have."""
    files = []
    for split_name, split in splits.items():
        sketch_folder, photo_folder = FOLDERS[split_name]
        for sketch_id, row in zip(split.sketch_ids, split.sketch_rows.tolist(), strict=True):
            name, read = f"{sketch_folder}/{sketch_id}", partial(split.files.sketch, row)
            files.append(DataFile(name, split_name, SKETCH, sketch_id, *split_sketch_name(sketch_id), read))
        for photo_id, row in zip(split.photo_ids, split.photo_rows.tolist(), strict=True):
            name, read = f"{photo_folder}/{photo_id}", partial(split.files.photo, row)
            files.append(DataFile(name, split_name, PHOTO, photo_id, photo_id, "", read))
    return Listing(name, tuple(splits), tuple(files))


def _file(root: Path, path: Path, split: str, role: str) -> DataFile:
    photo_id, tag = path.stem, ""
    if role == SKETCH:
        try:
            photo_id, tag = split_sketch_name(path.stem)
        except ValueError:
            photo_id = ""
    return DataFile(_name(root, path), split, role, path.stem, photo_id, tag, path.read_bytes, path)


def _name(root: Path, path: Path) -> str:
    return shown_path(path.relative_to(root) if path.is_relative_to(root) else path)
