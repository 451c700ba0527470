"""A folder of photos without sketches: which can be drawn, and a split of them whose sketches are drawings.

A photo is looked at once: what was found is kept in the cache folder, and read again while its file stays the same.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from effnet_jax.config import PenConfig
from effnet_jax.data.problems import DataError
from effnet_jax.data.scan import PhotoPath, absolute, find_photos
from effnet_jax.data.split import DRAWN, Split
from effnet_jax.images.decode import DecodeError, decode_rgb, encode_png
from effnet_jax.images.pseudo_sketch import can_be_drawn, draw_picture, to_canvas
from effnet_jax.presentation.listed import listed
from effnet_jax.runtime.progress import in_threads, track
from effnet_jax.storage.files import replacing

BLANK = "no edges to draw: blank, or noise all over"

log = logging.getLogger(__name__)


class Looked(NamedTuple):
    """What looking at a photo found: the hash of its file, "" if that did not open; why it cannot be drawn, or ""."""

    sha256: str
    problem: str


@dataclass(frozen=True)
class PhotoFiles:
    """Photos by path, and a fixed drawing of each; what a `Split` of drawings decodes.

    Args:
        paths: of the photos.
        seeds: one of each photo, which follows from its file.
        pen: draws the sketches.
    """

    paths: tuple[str, ...]
    seeds: tuple[int, ...]
    pen: PenConfig

    def photo(self, row: int) -> bytes:
        """The file of a photo."""
        return Path(self.paths[row]).read_bytes()

    def sketch(self, row: int) -> bytes:
        """A drawing of a photo as PNG, the same at each call."""
        return encode_png(draw_picture(decode_rgb(self.paths[row]), self.pen, (0, self.seeds[row])))


def open_photos(folder: str | os.PathLike[str], pen: PenConfig, cache_dir: str | os.PathLike[str]) -> Split:
    """Open the photos below a folder as a split with one drawing of each.

    Photos that cannot be read or drawn, and copies of others, are left out and named in a warning.

    Args:
        folder: searched to the bottom.
        pen: draws the sketches.
        cache_dir: where what was found is kept; made when needed.

    Returns:
        A split named "unpaired". Ids are paths below the folder.

    Raises:
        DataError: there is no such folder, or no photo in it that can be drawn.
    """
    root = absolute(folder)
    if not root.is_dir():
        raise DataError(f"data.unpaired_photos={folder} is not a folder; give one with photos")
    found = find_photos([root])
    looked = dict(zip(found.photos, _look_at_all(found.photos, pen, Path(cache_dir).expanduser(), root), strict=True))
    left_out = [*found.unreadable, *((photo.path, look.problem) for photo, look in looked.items() if look.problem)]
    kept: dict[str, PhotoPath] = {}
    for photo, look in looked.items():
        if not look.problem:
            first = kept.setdefault(look.sha256, photo)
            left_out += [(photo.path, f"a copy of {_name(first, root)}")] if first is not photo else []
    _name_left_out(left_out, root)
    if not kept:
        raise DataError(f"not one photo in {root} can be drawn ({len(left_out)} were left out); give other photos")
    photos = sorted((_name(photo, root), sha256, photo.path) for sha256, photo in kept.items())
    names, hashes, paths = zip(*photos, strict=True)
    files = PhotoFiles(paths, tuple(photo_seed(sha256) for sha256 in hashes), pen)
    rows = np.arange(len(names), dtype=np.int32)
    return Split(
        dataset=root.name,
        name="unpaired",
        sketch_ids=tuple(f"{name}_{DRAWN}" for name in names),
        tags=(DRAWN,) * len(names),
        photo_ids=names,
        photo_index=rows,
        sketch_sha256=tuple(_drawing_hash(sha256, pen) for sha256 in hashes),
        photo_sha256=hashes,
        files=files,
        sketch_rows=rows,
        photo_rows=rows,
    )


def photo_seed(sha256: str) -> int:
    """The part of a drawing's seed that belongs to its photo."""
    return int(sha256[:12], 16)


def _look_at_all(photos: list[PhotoPath], pen: PenConfig, cache_dir: Path, root: Path) -> Iterator[Looked]:
    """Look at each photo that has changed since the last time; the others are remembered."""
    key = hashlib.sha256(json.dumps([str(root), asdict(pen)]).encode()).hexdigest()[:16]
    record = cache_dir / f"photos-{key}.json"
    known = _read_record(record)
    stamps = {photo.path: [photo.size, photo.mtime_ns] for photo in photos}
    new = [p for p in photos if known.get(p.path, [None])[0] != stamps[p.path]]
    looks = in_threads(lambda photo: _look_at(photo, pen), new)
    looking = track(looks, total=len(new), description="Looking at photos")
    known |= {photo.path: [stamps[photo.path], *look] for photo, look in zip(new, looking, strict=True)}
    if new:
        with replacing(record) as temporary:
            # what could not be opened today may be opened tomorrow
            temporary.write_text(json.dumps({path: known[path] for path in stamps if known[path][1]}))
    return (Looked(*known[photo.path][1:]) for photo in photos)


def _look_at(photo: PhotoPath, pen: PenConfig) -> Looked:
    try:
        data = Path(photo.path).read_bytes()
    except OSError as error:
        return Looked("", str(error))
    try:
        canvas = to_canvas(decode_rgb(data))
    except DecodeError as error:
        return Looked(hashlib.sha256(data).hexdigest(), str(error))
    return Looked(hashlib.sha256(data).hexdigest(), "" if can_be_drawn(canvas, pen) else BLANK)


def _read_record(path: Path) -> dict[str, list]:
    try:
        record = json.loads(path.read_text())
        return {name: [entry[0], str(entry[1]), str(entry[2])] for name, entry in record.items()}
    except (OSError, ValueError, AttributeError, TypeError, LookupError):  # not there, or damaged: look again
        return {}


def _drawing_hash(photo_sha256: str, pen: PenConfig) -> str:
    known = {name: value for name, value in asdict(pen).items() if (name, value) != ("darkness", (1.0, 1.0))}
    return hashlib.sha256(f"{photo_sha256} {json.dumps(known)}".encode()).hexdigest()  # as before there was a darkness


def _name(photo: PhotoPath, root: Path) -> str:
    return Path(photo.path).relative_to(root).as_posix()


def _name_left_out(left_out: list[tuple[str, str]], root: Path) -> None:
    reasons: dict[str, list[str]] = {}
    for path, reason in left_out:
        reasons.setdefault(reason, []).append(os.path.relpath(path, root))
    for reason, paths in reasons.items():
        log.warning("%s: %d photos are left out, %s: %s", root, len(paths), reason, listed(paths))
