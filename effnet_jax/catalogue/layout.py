"""The files of an index folder: what they hold, and how a reader opens them. No JAX.

    index.json                 says which files below are the present state; replaced last, in one step
    model/                     the encoders (encoders/encoders.py): weights.safetensors, model.json
    embeddings-000003.npy      (n, z) float16, unit norm, one row per photo in order of the paths' bytes
    photos-000003.npy          (n,) of PHOTO: content hash, size, time, end of the path, where the pictures lie
    paths-000003.bin           absolute paths in UTF-8, one after another; the n-th ends at photos["path_end"][n]
    parts/000001/              what was embedded together, never changed again:
        embeddings.npy         (p, z) float16
        sha256.npy             (p, 32) uint8, of each photo's file
        thumbnails.bin         JPEG files one after another, with thumbnail_ends.npy (p,) int64
        tokens.npy             (p, n, d) float16, final-norm tokens, CLS first; only with tokens

The number in the names of the middle three is the generation: every build writes new ones beside the old. A part that
index.json does not speak of was left by a build that was stopped, and the next build takes its photos from there.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Shaped, UInt8

from effnet_jax.storage.files import json_text, replacing

LAYOUT = 1
INDEX, MODEL, PARTS = "index.json", "model", "parts"
PHOTO = np.dtype(
    [
        ("sha256", "u1", (32,)),
        ("size", "<i8"),
        ("mtime_ns", "<i8"),
        ("path_end", "<i8"),
        ("part", "<i4"),
        ("row", "<i4"),
    ]
)


REPAIR = "effnet-jax embed --out on the index repairs it."


class NotWhole(ValueError):
    """A file that index.json names is missing or cut off."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What index.json says.

    Attributes:
        generation: number in the names of the current files.
        photos: how many.
        width: of the embeddings.
        tokens: whether the photos' tokens are kept.
        sources: absolute paths of the files and folders that are indexed.
        unreadable: path and reason of what could not be read in them.
        fingerprint: of the encoders.
        written: time, ISO 8601.
    """

    generation: int
    photos: int
    width: int
    tokens: bool
    sources: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    fingerprint: str
    written: str


def read_manifest(folder: Path) -> Manifest | None:
    """Read index.json; None where there is none.

    Raises:
        ValueError: the file is not one of ours, or of a newer layout.
    """
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        layout = content.pop("layout")
        if layout != LAYOUT:
            raise ValueError(f"its layout is {layout}, this version reads {LAYOUT}")
        content["sources"] = tuple(content["sources"])
        content["unreadable"] = tuple((path, reason) for path, reason in content["unreadable"])
        return Manifest(**content)
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}). If it is a damaged index, remove this file and embed the folders of "
            "photos again, and what was embedded is kept; otherwise choose another folder."
        ) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write index.json: from here on readers see the new state."""
    with replacing(folder / INDEX) as temporary:
        text = json_text({"layout": LAYOUT, **dataclasses.asdict(manifest)}) + "\n"
        temporary.write_text(text, encoding="utf-8")
        to_disk(temporary)


def generation_files(folder: Path, generation: int) -> tuple[Path, Path, Path]:
    """Paths of embeddings, photos and paths of one generation."""
    return (
        folder / f"embeddings-{generation:06d}.npy",
        folder / f"photos-{generation:06d}.npy",
        folder / f"paths-{generation:06d}.bin",
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The photos of one generation, mapped into memory: opening costs the same for ten photos and for ten million."""

    embeddings: Float16[np.ndarray, "n z"]
    photos: Shaped[np.ndarray, " n"]
    paths: UInt8[np.ndarray, " p"]
    paths_file: Path

    def __len__(self) -> int:
        return len(self.photos)

    def path(self, row: int) -> str:
        """Absolute path of a photo."""
        start = int(self.photos["path_end"][row - 1]) if row else 0
        return self._text(bytes(self.paths[start : int(self.photos["path_end"][row])]))

    def all_paths(self) -> list[str]:
        """Absolute paths of all photos."""
        ends, data = self.photos["path_end"].tolist(), bytes(self.paths)
        return [self._text(data[a:b]) for a, b in zip([0, *ends], ends, strict=False)]

    def _text(self, path: bytes) -> str:
        try:
            return path.decode()
        except UnicodeDecodeError as error:
            raise NotWhole(f"{self.paths_file} is damaged ({error}); {REPAIR}") from error


def open_table(folder: Path, manifest: Manifest) -> Table:
    """Map the current files.

    Raises:
        NotWhole: a file is missing, cut off, or not as index.json says.
    """
    to_embeddings, to_photos, to_paths = generation_files(folder, manifest.generation)
    photos, n = open_array(to_photos), manifest.photos
    embeddings, paths = open_array(to_embeddings), _open_bytes(to_paths)
    if photos.shape != (n,) or photos.dtype != PHOTO:
        raise NotWhole(f"{to_photos} does not hold the {n} photos that index.json speaks of; {REPAIR}")
    if embeddings.shape != (n, manifest.width):
        raise NotWhole(f"{to_embeddings} does not hold the {n} photos that index.json speaks of; {REPAIR}")
    if len(paths) != (int(photos["path_end"][-1]) if n else 0):
        raise NotWhole(f"{to_paths} does not hold the {n} paths that index.json speaks of; {REPAIR}")
    return Table(embeddings, photos, paths, to_paths)


def open_array(path: Path) -> Any:
    """Map a .npy file.

    Raises:
        NotWhole: it is missing or cut off.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise NotWhole(f"{path} is not whole ({error}); {REPAIR}") from error


def _open_bytes(path: Path) -> Any:
    try:
        return np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    except OSError as error:
        raise NotWhole(f"{path} is not whole ({error}); {REPAIR}") from error


def write_generation(folder: Path, generation: int, photos: Shaped[np.ndarray, " n"], paths: bytes, width: int) -> None:
    """Write the files of a generation, the embeddings copied from their parts; nobody reads them before index.json
    names them.
    """
    to_embeddings, to_photos, to_paths = generation_files(folder, generation)
    with replacing(to_embeddings) as temporary:
        embeddings = np.lib.format.open_memmap(temporary, "w+", np.float16, (len(photos), width))
        for number in np.unique(photos["part"]).tolist():
            rows = np.flatnonzero(photos["part"] == number)
            embeddings[rows] = open_array(part_folder(folder, number) / "embeddings.npy")[photos["row"][rows]]
        embeddings.flush()
        to_disk(temporary)
    with replacing(to_photos) as temporary:
        with temporary.open("wb") as file:  # np.save would add .npy to the name
            np.save(file, photos)
        to_disk(temporary)
    with replacing(to_paths) as temporary:
        temporary.write_bytes(paths)
        to_disk(temporary)


def part_folder(folder: Path, number: int) -> Path:
    """Folder of a part."""
    return folder / PARTS / f"{number:06d}"


def to_disk(path: Path) -> None:
    """A power cut must not leave a name without its content."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
