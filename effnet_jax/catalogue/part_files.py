"""The parts of an index on disk: written once, read by row, and known to be whole. No JAX."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from effnet_jax.catalogue.layout import PARTS, REPAIR, NotWhole, open_array, part_folder, to_disk
from effnet_jax.storage.files import new_folder

PART_FILES = {"embeddings.npy", "sha256.npy", "thumbnails.bin", "thumbnail_ends.npy", "tokens.npy"}


def write_part(folder: Path, number: int, arrays: Mapping[str, np.ndarray], thumbnails: list[bytes]) -> None:
    """Write a part, whole or not at all."""
    ends = np.cumsum([len(t) for t in thumbnails], dtype=np.int64)
    with new_folder(part_folder(folder, number)) as temporary:
        for name, array in {**arrays, "thumbnail_ends": ends}.items():
            np.save(temporary / f"{name}.npy", array)
        (temporary / "thumbnails.bin").write_bytes(b"".join(thumbnails))
        for file in temporary.iterdir():
            to_disk(file)


def part_numbers(folder: Path) -> list[int]:
    """Numbers of the parts that are whole, ascending."""
    return [n for n in taken_numbers(folder) if (part_folder(folder, n) / "sha256.npy").exists()]


def taken_numbers(folder: Path) -> list[int]:
    """Numbers that a new part cannot have, ascending."""
    return sorted(int(p.name) for p in (folder / PARTS).glob("*") if re.fullmatch("[0-9]{6}", p.name))


def part_array(folder: Path, number: int, name: str) -> Any:
    """Map one array of a part.

    Raises:
        NotWhole: it is missing or cut off.
    """
    return open_array(part_folder(folder, number) / f"{name}.npy")


def part_contents(folder: Path, number: int, *, tokens: bool) -> UInt8[np.ndarray, "p 32"] | None:
    """Content hashes of a part's photos; None where it is damaged, or has no tokens and should."""
    try:
        sha256, embeddings = (part_array(folder, number, name) for name in ("sha256", "embeddings"))
        ends = part_array(folder, number, "thumbnail_ends")
        photos = {len(x) for x in (embeddings, ends, *([part_array(folder, number, "tokens")] if tokens else []))}
        size = (part_folder(folder, number) / "thumbnails.bin").stat().st_size
    except (NotWhole, OSError, TypeError):
        return None
    as_written = sha256.ndim == embeddings.ndim == 2 and sha256.shape[1] == 32 and sha256.dtype == np.uint8
    return sha256 if as_written and photos == {len(sha256)} and len(ends) and int(ends[-1]) == size else None


def read_thumbnail(folder: Path, number: int, row: int) -> bytes:
    """Read the JPEG file of one photo's thumbnail.

    Raises:
        NotWhole: a file of its part is missing or cut off.
    """
    ends = part_array(folder, number, "thumbnail_ends")
    start = int(ends[row - 1]) if row else 0
    path = part_folder(folder, number) / "thumbnails.bin"
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(int(ends[row]) - start)
    except OSError as error:
        raise NotWhole(f"{path} is not whole ({error}); {REPAIR}") from error
    if len(data) != int(ends[row]) - start:
        raise NotWhole(f"{path} is cut off; {REPAIR}")
    return data
