"""Files and folders that appear whole or not at all, and that one process at a time writes."""

import json
import logging
import os
import shutil
import socket
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

log = logging.getLogger(__name__)

# What zipfile raises on a damaged archive; RuntimeError where it is encrypted or packed in a way that is not known.
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)

# How the names of half-written files end, `.NAME` before it; older versions wrote the number of the process.
TEMPORARY_END = r"\.(?:[0-9a-f]{32}|[0-9]+)\.tmp"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to; it takes the place of `path` when the block ends well.

    A reader sees the old file or the whole new one, and a failure leaves nothing behind. The folder is made.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder beside `path` to fill; it becomes `path` when the block ends well, else it vanishes.

    Raises:
        FileExistsError: `path` is a file, or a folder that holds something.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists already; name a folder that is new or empty")
    temporary = _temporary(path)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON so that a reader sees either the old file or the whole new one."""
    with replacing(path) as temporary:
        temporary.write_text(json_text(value) + "\n", encoding="utf-8")


def json_text(value: Any) -> str:
    """Give JSON that people can read: letters of all languages as they are, names that are no Unicode escaped."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _temporary(path: Path) -> Path:
    """A name that nobody else writes to: the number of the process is that of its threads, and of other containers."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


@contextmanager
def held(lock: str | os.PathLike[str], *, refuse: Callable[[str], Exception] | None = None) -> Iterator[bool]:
    """Hold a lock file until the block ends; the lock is free again when its holder dies. The file stays.

    Threads of one process exclude one another too, and a forked worker that outlives its parent does not go on holding.

    Args:
        lock: path of the file, in a folder that exists.
        refuse: makes the error to raise where another holds it, from the name of that process; None: wait, and say so.

    Yields:
        Whether it is held: False where the system or the storage has no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield False
        return
    with open(lock, "a+b", buffering=0) as file:
        _locks.add(file)
        try:
            yield _acquire(fcntl, file, refuse)
        finally:
            _locks.discard(file)


def _acquire(fcntl: Any, file: IO[bytes], refuse: Callable[[str], Exception] | None) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read().decode(errors="replace").strip() or "an unknown process"
        if refuse is not None:
            raise refuse(holder) from None
        log.info("waiting for %s, which holds %s", holder, file.name)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # some network file systems
        return False
    with suppress(OSError):  # a full disk
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return True


def _close_copies() -> None:
    for file in _locks:
        file.close()
    _locks.clear()


_locks: set[IO[bytes]] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_copies)
