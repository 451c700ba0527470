"""Which photos there are: folders walked to the bottom, every picture by its path. No JAX."""

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from effnet_jax.data.folders import EXTENSIONS, is_picture_name

# Pictures to people, but not to us: named rather than passed over, because somebody expects to find them.
OTHER_PICTURES = (".heic", ".heif", ".avif", ".gif", ".tif", ".tiff", ".svg", ".jp2", ".jxl", ".psd", ".pdf", ".ai",
                  ".dng", ".cr2", ".cr3", ".nef", ".arw")  # fmt: skip


@dataclass(frozen=True)
class PhotoPath:
    """A photo by its absolute path, and what tells cheaply whether it is still the same."""

    path: str
    size: int
    mtime_ns: int


@dataclass
class Found:
    """What a walk found.

    Attributes:
        photos: in order of the bytes of their paths, each path once.
        unreadable: path and reason of each file or folder that should have been a photo.
        ignored: number of other files by extension.
    """

    photos: list[PhotoPath] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def find_photos(sources: Iterable[str | os.PathLike[str]]) -> Found:
    """Find the photos in files and folders, subfolders and links to folders included.

    Args:
        sources: files and folders. A file that is named is taken whatever its extension.

    Raises:
        ValueError: sources that do not exist, all of them.
    """
    roots = [absolute(source) for source in sources]
    missing = [str(root) for root in roots if not root.exists()]
    if missing:
        raise ValueError("there is no file or folder " + ", ".join(missing))
    found, seen = Found(), set()
    for root in roots:
        for path in _files_below(root, found) if root.is_dir() else [str(root)]:
            if path not in seen:
                seen.add(path)
                _take(path, found, named=not root.is_dir())
    found.photos.sort(key=lambda photo: photo.path.encode())
    found.unreadable.sort()
    return found


def absolute(path: str | os.PathLike[str]) -> Path:
    """Make a path absolute without following links, so that a photo keeps the name its owner gave it."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def _files_below(root: Path, found: Found) -> Iterator[str]:
    def failed(error: OSError) -> None:
        found.unreadable.append((_shown(error.filename), f"folder: {error.strerror}"))

    visited = set()
    for folder, names, files in os.walk(root, onerror=failed, followlinks=True):
        names[:] = sorted(name for name in names if not name.startswith("."))
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited:  # a link back up
            names.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        yield from (os.path.join(folder, name) for name in files)


def _take(path: str, found: Found, *, named: bool) -> None:
    name = os.path.basename(path)
    extension = os.path.splitext(name)[1].lower()
    if not named:
        if not is_picture_name(name):
            return
        if extension in OTHER_PICTURES:
            found.unreadable.append((_shown(path), f"{extension} is not read; convert it to PNG, JPEG or WebP"))
            return
        if extension not in EXTENSIONS:
            found.ignored[extension or "no extension"] += 1
            return
    try:
        path.encode()
        status = os.stat(path)
    except UnicodeEncodeError:
        found.unreadable.append((_shown(path), "name is not UTF-8; rename it"))
    except OSError as error:
        found.unreadable.append((path, error.strerror or str(error)))
    else:
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, for ever
            found.unreadable.append((path, "not a regular file"))
            return
        found.photos.append(PhotoPath(path, status.st_size, status.st_mtime_ns))


def _shown(path: str) -> str:
    return str(path).encode("utf-8", "backslashreplace").decode()
