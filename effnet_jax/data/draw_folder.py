"""A training folder made from photos alone: each photo with drawings of it, and a sheet to look at."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from effnet_jax.config import PenConfig
from effnet_jax.data.folders import EXTENSIONS, FOLDERS
from effnet_jax.data.photo_folder import BLANK, photo_seed
from effnet_jax.data.problems import DataError
from effnet_jax.data.scan import absolute, find_photos
from effnet_jax.data.split import DRAWN
from effnet_jax.images.decode import DecodeError, decode_rgb, encode_png
from effnet_jax.images.pseudo_sketch import can_be_drawn, draw_picture, to_canvas
from effnet_jax.runtime.progress import in_threads, track
from effnet_jax.storage.files import new_folder, write_json

RECORD, SHEET = "drawn.json", "contact_sheet.png"
_COLUMNS, _ROWS, _CELL, _GAP = 8, 3, 160, 8  # of the sheet: pairs, and pixels


@dataclass(frozen=True)
class DrawnFolder:
    """What was written.

    Attributes:
        photos: their number.
        sketches: number of drawings.
        left_out: path and reason of each photo that could not be used.
    """

    photos: int
    sketches: int
    left_out: tuple[tuple[str, str], ...]


def draw_folder(
    sources: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    pen: PenConfig | None = None,
    *,
    per_photo: int = 1,
    seed: int = 0,
) -> DrawnFolder:
    """Write `trainA` with drawings and `trainB` with the photos, a contact sheet, and what was drawn from what.

    The sketches' tags begin with "drawn", by which figures on them are told from those on real ones.

    Args:
        sources: files and folders of photos, searched to the bottom.
        out: a folder that is new or empty; it is written whole or not at all.
        pen: draws the sketches; None: the usual one.
        per_photo: drawings of each photo.
        seed: of the drawings.

    Raises:
        DataError: not one photo can be drawn, or the folder is taken.
        ValueError: sources that are not there.

    Example:
        >>> import tempfile, pathlib
        >>> import numpy as np
        >>> from PIL import Image, ImageOps
        >>> from effnet_jax.data.draw_folder import draw_folder
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> picture = np.full((100, 80, 3), 255, np.uint8)
        >>> picture[30:70, 20:60] = 0
        >>> Image.fromarray(picture).save(folder / "box.png")
        >>> draw_folder([folder], folder / "drawn").sketches
        1
        >>> sorted(path.name for path in (folder / "drawn" / "trainA").iterdir())
        ['box_drawn1.png']
    """
    pen, found = pen or PenConfig(), find_photos(sources)
    names = _ids([photo.path for photo in found.photos], [absolute(source) for source in sources])
    left_out, drawn, seen, shown = list(found.unreadable), {}, {}, []
    sketch_folder, photo_folder = FOLDERS["train"]

    def draw(path: str) -> tuple[bytes, list[np.ndarray], np.ndarray | None, str]:
        try:
            data = Path(path).read_bytes()
            photo = decode_rgb(data)
        except (DecodeError, OSError) as error:
            return b"", [], None, str(error)
        if not can_be_drawn(to_canvas(photo), pen):
            return data, [], photo, BLANK
        key = photo_seed(hashlib.sha256(data).hexdigest())
        return data, [draw_picture(photo, pen, (seed, key, n)) for n in range(per_photo)], photo, ""

    try:
        with new_folder(out) as folder:
            for name in (sketch_folder, photo_folder):
                (folder / name).mkdir()
            paths = [photo.path for photo in found.photos]
            work = track(in_threads(draw, paths), total=len(paths), description="Drawing")
            for path, (data, drawings, photo, problem) in zip(paths, work, strict=True):
                first = seen.setdefault(hashlib.sha256(data).digest(), path) if data else path
                problem = problem or (f"a copy of {first}" if first != path else "")
                if problem:
                    left_out.append((path, problem))
                    continue
                photo_id = names[path]
                (folder / photo_folder / f"{photo_id}{_extension(path)}").write_bytes(data)
                for n, drawing in enumerate(drawings):
                    (folder / sketch_folder / f"{photo_id}_{DRAWN}{n + 1}.png").write_bytes(encode_png(drawing))
                drawn[photo_id] = path
                if len(shown) < _COLUMNS * _ROWS and photo is not None:
                    shown.append((photo, drawings[0]))
            if not drawn:
                reasons = "".join(f"\n  {path}: {reason}" for path, reason in left_out[:20])
                raise DataError(f"not one photo can be drawn; nothing was written.{reasons}")
            _sheet(shown).save(folder / SHEET)
            record = {"pen": asdict(pen), "seed": seed, "photos": drawn, "left_out": left_out}
            write_json(folder / RECORD, record)
    except FileExistsError as error:
        raise DataError(str(error)) from error
    return DrawnFolder(len(drawn), per_photo * len(drawn), tuple(left_out))


def _extension(path: str) -> str:
    """The extension that a training folder takes; the contents decide how a file is read."""
    own = Path(path).suffix.lower()
    return own if own in EXTENSIONS else ".jpg"


def _ids(paths: Sequence[str], roots: Sequence[Path]) -> dict[str, str]:
    """Give each photo an id that no other has: its name, its folders before it where names repeat."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for path in paths:
        root = max((root for root in roots if Path(path).is_relative_to(root)), key=lambda root: len(root.parts))
        parts = (*Path(path).relative_to(root).parts[:-1], Path(path).stem)
        wanted = next((w for w in _longer(parts) if w.casefold() not in taken), "")
        ids[path] = wanted
        taken.add(wanted.casefold())
    return ids


def _longer(parts: Sequence[str]) -> Iterator[str]:
    for count in range(1, len(parts) + 1):
        yield "-".join(parts[-count:])
    number = 2
    while True:
        yield f"{'-'.join(parts)}-{number}"
        number += 1


def _sheet(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Image.Image:
    """Photos with their drawings below, on white."""
    columns = min(_COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    width, height = columns * (_CELL + _GAP) + _GAP, rows * (2 * _CELL + 3 * _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    for i, pair in enumerate(pairs):
        row, column = divmod(i, columns)
        for half, picture in enumerate(pair):
            small = ImageOps.contain(Image.fromarray(picture), (_CELL, _CELL))
            left = _GAP + column * (_CELL + _GAP) + (_CELL - small.width) // 2
            top = _GAP + row * (2 * _CELL + 3 * _GAP) + half * (_CELL + _GAP) + (_CELL - small.height) // 2
            sheet.paste(small, (left, top))
    return sheet
