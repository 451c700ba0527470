"""Is a folder still what was written? Sizes and checksums of its files, kept beside them.

Formats of arrays do not tell in general: a file of zeros, or a few changed bytes, would be read as numbers.
"""

import json
import zlib
from pathlib import Path

LISTING = "files.json"
_LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")  # what orbax writes when a folder is done
_CHUNK = 1 << 22  # bytes read at a time


def write_listing(folder: Path) -> None:
    """List all files of a folder that is complete, with size and CRC-32, in `files.json` in it."""
    listed = {name: [path.stat().st_size, _checksum(path)] for name, path in _files(folder).items()}
    (folder / LISTING).write_text(json.dumps(listed, indent=0))


def damage(folder: Path) -> list[str]:
    """Say what is wrong with a folder, file by file; a folder without a listing cannot be judged and passes."""
    if not folder.is_dir():
        return [f"{folder.name} is not there"]
    try:
        listed = json.loads((folder / LISTING).read_text())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [f"{LISTING} cannot be read: {error}"]
    found, problems = _files(folder), []
    for name, (size, checksum) in listed.items():
        try:
            if name not in found:
                problems.append(f"{name} is missing")
            elif (now := found[name].stat().st_size) != size:
                problems.append(f"{name} has {now} bytes, not {size}")
            elif _checksum(found[name]) != checksum:
                problems.append(f"{name} has other content than was written")
        except OSError as error:
            problems.append(f"{name} cannot be read: {error}")
    return problems


def refuse_damaged(folder: Path, sentence: str, kind: type[Exception] = ValueError) -> None:
    """Raise an error that begins with a sentence and lists what is wrong with a folder, if anything is."""
    if problems := damage(folder):
        raise kind("\n".join([f"{sentence}:", *(f"  {problem}" for problem in problems)]))


def _files(folder: Path) -> dict[str, Path]:
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path for name, path in found.items() if path.name not in (*_LATER, LISTING)}


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
