"""What can be wrong with data, collected so that one error names all of it."""

from collections import defaultdict
from pathlib import Path

CAUSES = {
    "missing": "missing folder: sketches belong in trainA and testA, photos in trainB and testB",
    "subfolder": "folder inside a picture folder: move its files up or away",
    "unknown file": "not a picture (.png .jpg .jpeg .webp .bmp, any case): convert it or move it away",
    "not a file": "neither file nor folder, such as a link to nothing: remove it",
    "bad name": "file name that is not UTF-8: rename it",
    "no underscore": "sketch name without an underscore: name it <photo id>_<tag>.<extension>",
    "empty id": "sketch name without a photo id before its last underscore: name it <photo id>_<tag>.<extension>",
    "empty tag": "sketch name without a tag after its last underscore: name it <photo id>_<tag>.<extension>",
    "photo twice": "photo id used more than once (the extension does not count): keep one file of each id",
    "sketch twice": "sketch name used more than once (the extension does not count): keep one file of each name",
    "no photo": "sketch without a photo of its id in the same split: add the photo or remove the sketch",
    "no pairs": "not one sketch with its photo",
    "unreadable": "file that cannot be read: check its permissions and its disk",
    "empty": "empty file: fetch it again",
    "not an image": "file that is no PNG, JPEG, WebP or BMP picture, whatever its name: fetch or convert it again",
    "damaged": "picture that is cut off or damaged: fetch it again",
    "too large": "picture with too many pixels to open safely: shrink it",
}


class DataError(ValueError):
    """Data that cannot be used as it is.

    Attributes:
        problems: every offending path by cause; empty where the message says it all.
    """

    def __init__(self, message: str, problems: dict[str, tuple[str, ...]] | None = None):
        super().__init__(message)
        self.problems = problems or {}


class Problems:
    """Offending paths by cause; a cause is a key of `CAUSES`."""

    def __init__(self, root: Path):
        self.root = root
        self.noted: dict[str, list[tuple[Path, str]]] = defaultdict(list)

    def add(self, cause: str, path: Path, detail: str = "") -> None:
        """Note a path, and what exactly is wrong with it where the cause does not say it."""
        self.noted[cause].append((path, detail))

    def raise_if_any(self) -> None:
        """Raise one DataError with everything that was noted."""
        if not self.noted:
            return
        paths = {cause: tuple(_shown(*entry) for entry in entries) for cause, entries in self.noted.items()}
        count = sum(map(len, paths.values()))
        lines = [f"{self.root} cannot be used, {count} {'problem' if count == 1 else 'problems'}:"]
        for cause, explanation in CAUSES.items():
            if cause in paths:
                lines.append(f"* {explanation} ({len(paths[cause])}):")
                lines += [f"    {path}" for path in paths[cause]]
        raise DataError("\n".join(lines), paths)


def shown_path(path: Path) -> str:
    """A path as text that can be printed, whatever bytes its name is made of."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def _shown(path: Path, detail: str) -> str:
    return f"{shown_path(path)} ({detail})" if detail else shown_path(path)
