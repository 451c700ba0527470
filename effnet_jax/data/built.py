"""Data sets built on disk: is one whole, does it still match its source, build it, read its records.

A set is built beside its place and moved there in one step, so that a build which is interrupted at any moment leaves
the old set, the new one or none, never a part of one.
"""

import contextlib
import json
import logging
import multiprocessing
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from effnet_jax.data.builders import Builder, Form
from effnet_jax.data.folders import EXTENSIONS, FOLDERS
from effnet_jax.data.problems import DataError
from effnet_jax.storage.files import held, replacing

log = logging.getLogger(__name__)

_STAMP = "source_files.json"  # sizes and times of the source files when they were last hashed
_UNFINISHED = "incomplete."  # the prefix that TFDS, too, gives to what is not done


def set_directory(builder: type[Builder], config: Form | None, tfds_dir: Path) -> Path:
    """Where TFDS keeps a built set: `<tfds_dir>/<data set>[/<configuration>]/<version>`."""
    name = tfds_dir / builder.name
    return (name / config.name if config else name) / str(builder.VERSION)


def read_description(directory: Path) -> dict[str, Any] | None:
    """What a built set says of its source, or None where there is no whole set."""
    try:
        info = json.loads((directory / "dataset_info.json").read_text())
        described = json.loads((directory / "metadata.json").read_text())
        expected = {}
        for name, split in described["splits"].items():
            expected |= {name: len(split["sketches"]), f"{name}_gallery": len(split["photos"])}
        stored = {split["name"]: split["shardLengths"] for split in info["splits"]}
        whole = {name: sum(map(int, lengths)) for name, lengths in stored.items()} == expected and all(
            len([f for f in directory.glob(f"{info['name']}-{name}.array_record-*") if f.stat().st_size])
            == len(lengths)
            for name, lengths in stored.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return described if whole else None


def ensure_built(builder: type[Builder], config: Form | None, source: Path | None, tfds_dir: Path) -> Path:
    """Build a set unless it is whole and matches its source; returns its directory.

    Args:
        builder: the class.
        config: its form, None where it has only one.
        source: the folder, None for a generated set.
        tfds_dir: the root of all built sets.

    Raises:
        DataError: the source cannot be used. Nothing was written then.
    """
    directory = set_directory(builder, config, tfds_dir)
    if _matches(builder, config, source, directory):
        return directory
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # this process is only starting up
        raise RuntimeError(
            f"{builder.name} would be built anew in each worker process: put what your script does under "
            'if __name__ == "__main__":'
        )
    making = _new_builder(builder, config, tfds_dir)
    if source is not None:
        making.check_source(source)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with held(directory.parent / f".{directory.name}.lock"):  # one process builds a set, others wait
        if not _matches(builder, config, source, directory):
            _build(builder, config, source, directory, making)
    return directory


class Records:
    """The encoded pictures of one split of a built set, opened on first use in each process.

    Args:
        directory: of the built set.
        split: "train" or "test".
        sha256: the split hash that the set had; a set that was replaced since is refused.
    """

    def __init__(self, directory: Path, split: str, sha256: str):
        self.directory = Path(directory)
        self.split = split
        self.sha256 = sha256
        self._lock = threading.Lock()
        self._sources: tuple[Any, Any] | None = None

    def sketch(self, row: int) -> bytes:
        """The file of one sketch, by its row in the built split."""
        return self._open()[0][row]["sketch"]

    def photo(self, row: int) -> bytes:
        """The file of one photo, by its row in the built gallery."""
        return self._open()[1][row]["photo"]

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "split": self.split, "sha256": self.sha256}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def _open(self) -> tuple[Any, Any]:
        with self._lock:
            if self._sources is None:
                self._sources = self._open_sources()
            return self._sources

    def _open_sources(self) -> tuple[Any, Any]:
        import tensorflow_datasets as tfds

        described = read_description(self.directory)
        if described is None or described["splits"][self.split]["sha256"] != self.sha256:
            raise DataError(
                f"{self.directory} was removed or rebuilt from other files while it was in use; start again"
            )
        skip = tfds.decode.SkipDecoding()
        names = [self.split, f"{self.split}_gallery"]
        with _quiet_tfds():
            builder = tfds.builder_from_directory(self.directory)
            sketches, photos = builder.as_data_source(split=names, decoders={"sketch": skip, "photo": skip})
        return sketches, photos


def _new_builder(builder: type[Builder], config: Form | None, root: Path) -> Builder:
    with _quiet_tfds():
        return builder(data_dir=root, config=config, file_format="array_record")


def _matches(builder: type[Builder], config: Form | None, source: Path | None, directory: Path) -> bool:
    described = read_description(directory)
    if described is None:
        return False
    if source is None:
        return described["generated"] == builder.generated()
    stamp = _stamp(source)
    if _read_json(directory / _STAMP) == stamp:
        return True
    log.info("%s: files in %s have other names, sizes or times than before; hashing them", builder.name, source)
    splits = _new_builder(builder, config, directory.parent / f"{_UNFINISHED}none").read_source(
        source, check_images=False
    )
    if {name: split.sha256 for name, split in splits.items()} != {
        name: split["sha256"] for name, split in described["splits"].items()
    }:
        return False
    with contextlib.suppress(OSError):  # a shared set may be read-only; then it is hashed again next time
        _write_json(directory / _STAMP, stamp)
    return True


def _stamp(source: Path) -> dict[str, Any]:
    files = []
    for folder in (name for names in FOLDERS.values() for name in names):
        if (source / folder).is_dir():
            for entry in os.scandir(source / folder):
                status = entry.stat(follow_symlinks=os.path.exists(entry.path))
                files.append([f"{folder}/{entry.name}", status.st_size, status.st_mtime_ns])
    return {"source": str(source.resolve()), "extensions": list(EXTENSIONS), "files": sorted(files)}


def _build(builder: type[Builder], config: Form | None, source: Path | None, directory: Path, making: Builder) -> None:
    import tensorflow_datasets as tfds

    start = time.perf_counter()
    log.info("building %s in %s from %s", builder.name, directory, source or "its generator")
    for leftover in directory.parent.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    workshop = directory.parent / f"{_UNFINISHED}{uuid.uuid4().hex[:8]}"
    worker = _new_builder(builder, config, workshop)
    worker.take_over(making)
    stamp = _stamp(source) if source is not None else None
    manual_dir = workshop if source is None else source
    try:
        workshop.mkdir(parents=True)
        with _quiet_tfds():
            worker.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
        made = Path(worker.data_dir)
        if stamp is not None:
            _write_json(made / _STAMP, stamp)
        if directory.exists():
            directory.rename(workshop / "replaced")
        made.rename(directory)
    except RuntimeError as error:
        if "write() failed" not in str(error):  # the words of the array_record writer
            raise
        raise DataError(f"{builder.name} could not be written to {directory.parent}: {error}") from error
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    log.info("built %s in %.1f s", builder.name, time.perf_counter() - start)


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Keep TFDS from reporting each file that it opens or writes, and that a folder's configuration is not built in."""

    def keep(record: logging.LogRecord) -> bool:
        usual = record.levelno <= logging.INFO or "custom data configuration" in str(record.msg)
        return not (usual and "tensorflow_datasets" in record.pathname)

    logger = logging.getLogger("absl")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write_json(path: Path, value: Any) -> None:
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value))
