"""Which files of an index folder are ours: no other is ever deleted. No JAX."""

import re
import shutil
from pathlib import Path

from effnet_jax.catalogue.layout import (
    INDEX,
    MODEL,
    PARTS,
    Manifest,
    generation_files,
    part_folder,
    read_manifest,
)
from effnet_jax.catalogue.part_files import PART_FILES
from effnet_jax.encoders.encoders import MODEL as MODEL_FILE
from effnet_jax.encoders.encoders import WEIGHTS, read_fingerprint
from effnet_jax.storage.files import TEMPORARY_END

LOCK = ".lock"
_GENERATION = re.compile(r"(?:(?:embeddings|photos)-(\d{6})\.npy|paths-(\d{6})\.bin)")
_TEMPORARY = re.compile(rf"\.(?:{_GENERATION.pattern}|{re.escape(INDEX)}){TEMPORARY_END}")
_PART = re.compile(rf"\d{{6}}|\.\d{{6}}{TEMPORARY_END}|\.unfinished-\d{{6}}")  # the last: of older versions


def check_place(folder: Path) -> None:
    """Refuse a folder that holds something and is no index: it belongs to somebody else.

    Raises:
        ValueError: a file, a folder with other contents, or an index.json that cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; give a folder for the index.")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if INDEX in names:
        read_manifest(folder)  # refuses another program's
        return
    if not names - {LOCK}:
        return
    if LOCK in names and _is_begun(folder, names):
        return
    if (folder / MODEL / MODEL_FILE).exists():
        read_fingerprint(folder / MODEL)
        return
    shown = ", ".join(sorted(names)[:5]) + (", ..." if len(names) > 5 else "")
    raise ValueError(
        f"{folder} is not empty and no index of effnet-jax (it holds {shown}); give a folder that is new or empty."
    )


def _is_begun(folder: Path, names: set[str]) -> bool:
    """Whether a build was killed while it wrote the encoders."""
    inside = {path.name for path in (folder / MODEL).glob("*")}
    return names <= {LOCK, MODEL} and all(n == WEIGHTS or re.fullmatch(rf"\..*{TEMPORARY_END}", n) for n in inside)


def generations(folder: Path) -> list[int]:
    """Numbers of the generations that files are there of."""
    matches = (_GENERATION.fullmatch(path.name) for path in folder.iterdir())
    return [int(match[1] or match[2]) for match in matches if match]


def remove_unused(folder: Path, manifest: Manifest, used_parts: set[int]) -> None:
    """Remove the files of other generations and the parts that no photo lies in."""
    current = {path.name for path in generation_files(folder, manifest.generation)}
    for path in folder.iterdir():
        if path.name not in current and (_GENERATION.fullmatch(path.name) or _TEMPORARY.fullmatch(path.name)):
            path.unlink(missing_ok=True)
    used = {part_folder(folder, number) for number in used_parts}
    for path in (folder / PARTS).iterdir():
        ours = _PART.fullmatch(path.name) and path.is_dir() and {p.name for p in path.iterdir()} <= PART_FILES
        if path not in used and ours:
            shutil.rmtree(path, ignore_errors=True)


def remove_if_nothing(folder: Path) -> None:
    """Remove a folder in which nothing was embedded: one that holds a lock, and encoders at most."""
    names = {path.name for path in folder.iterdir()}
    inside = {path.name for path in (folder / MODEL).glob("*")}
    if LOCK in names and names <= {LOCK, MODEL} and inside <= {MODEL_FILE, WEIGHTS}:
        shutil.rmtree(folder, ignore_errors=True)
