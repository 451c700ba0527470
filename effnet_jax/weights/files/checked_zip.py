"""Zip archives that weights come in (.pth, .npz): opened with every claim checked against the size of the file."""

import dataclasses
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from effnet_jax.storage.files import DAMAGED_ZIP
from effnet_jax.weights.errors import WeightsError, listing, shown

MAX_ENTRIES = 20_000
MAX_GROWTH = 20  # times that a compressed entry may grow; numbers hardly compress
SLACK = 64 * 2**20  # bytes that small, very regular entries may grow besides
DAMAGED = (*DAMAGED_ZIP, ValueError, OSError, struct.error, OverflowError, IndexError, KeyError, MemoryError)


@dataclasses.dataclass(frozen=True)
class CheckedZip:
    """A zip archive whose entries are read into memory by name, nothing is ever unpacked to disk."""

    path: Path
    names: dict[str, zipfile.ZipInfo]
    _zip: zipfile.ZipFile

    def read(self, name: str) -> bytes:
        """Read one entry.

        Raises:
            WeightsError: it is missing, or its checksum is wrong.
        """
        if name not in self.names:
            raise WeightsError(f"{self.path} lacks {shown(name)!r}; it is cut off or damaged.")
        try:
            return self._zip.read(self.names[name])
        except DAMAGED as error:
            raise WeightsError(f"{self.path}: {shown(name)!r} is damaged ({shown(error)}); fetch it again.") from error


@contextmanager
def checked_zip(path: Path, *, compressed: bool) -> Iterator[CheckedZip]:
    """Open a zip archive until the block ends.

    Args:
        path: the file.
        compressed: whether compressed entries are allowed; PyTorch never compresses.

    Raises:
        WeightsError: damaged, encrypted, names that are repeated or point outside, sizes that cannot be.
    """
    try:
        opened = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise WeightsError(f"{path} is a damaged or cut-off archive ({shown(error)}); fetch it again.") from error
    with opened:
        yield CheckedZip(path, _checked(path, opened.infolist(), compressed), opened)


def _checked(path: Path, infos: Sequence[zipfile.ZipInfo], compressed: bool) -> dict[str, zipfile.ZipInfo]:
    """Give the entries by name."""
    size, problems = path.stat().st_size, []
    if len(infos) > MAX_ENTRIES:
        raise WeightsError(f"{path} has {len(infos)} entries, more than {MAX_ENTRIES}; it is not read.")
    if not compressed and any("/code/" in info.filename for info in infos):
        raise WeightsError(f"{path} is a TorchScript program, not weights; save its state_dict with torch.save.")
    names: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
            problems.append(f"points outside the archive: {shown(name)!r}")
        if name in names:
            problems.append(f"there twice: {shown(name)!r}")
        names[name] = info
        if info.flag_bits & 1:
            problems.append(f"encrypted: {shown(name)!r}")
        if info.compress_type == zipfile.ZIP_STORED:
            if info.file_size != info.compress_size or info.file_size > size:
                problems.append(f"too large: {shown(name)!r} claims {info.file_size} bytes in a file of {size}")
        elif not compressed or info.compress_type != zipfile.ZIP_DEFLATED:
            problems.append(f"compressed, which such a file never is: {shown(name)!r}")
    total = sum(info.file_size for info in infos)
    if total > size * (MAX_GROWTH if compressed else 1) + (SLACK if compressed else 0):
        problems.append(f"its entries claim {total} bytes in a file of {size}")
    if problems:
        raise WeightsError(f"{path} cannot be trusted:\n{listing(problems)}")
    return names
