"""Writing a cleaned copy of a folder."""

import os
from pathlib import Path

from effnet_jax.data.folders import FOLDERS
from effnet_jax.data.problems import DataError
from effnet_jax.doctor.examine import Examination
from effnet_jax.doctor.listing import SKETCH
from effnet_jax.doctor.repair import Fate, plan_repairs
from effnet_jax.images.decode import plain_encoding
from effnet_jax.runtime.progress import in_threads, track
from effnet_jax.storage.files import new_folder, write_json

CHANGES = "cleaned.json"


def write_clean_copy(examination: Examination, target: str | os.PathLike[str]) -> list[Fate]:
    """Write a cleaned copy, whole or not at all, with the list of changes in `cleaned.json`.

    Args:
        examination: of the folder, which is only read.
        target: a folder that is new or empty, outside the examined one.

    Raises:
        DataError: the target is taken, or nothing would be left.
    """
    source, target = Path(examination.listing.root).resolve(), Path(target)
    if target.resolve().is_relative_to(source):
        raise DataError(f"{target} lies inside {source}, which is never written to; name a folder elsewhere")
    fates = plan_repairs(examination)
    kept = [fate for fate in fates if not fate.left_out]
    if not any(fate.file.role == SKETCH for fate in kept):
        raise DataError(f"{source}: no sketch with its photo would be left, so no copy was written")
    try:
        with new_folder(target) as folder:
            for split in {fate.split for fate in kept}:
                for name in FOLDERS[split]:
                    (folder / name).mkdir(exist_ok=True)
            written = in_threads(lambda fate: _write(fate, folder), kept)
            for _ in track(written, total=len(kept), description="writing the cleaned copy"):
                pass
            changes = [_change(fate) for fate in fates if fate.why] + [
                {"source": name, "target": None, "why": [finding.kind]}
                for finding in examination.listing.findings
                for name in finding.files
                if finding.kind != "missing"
            ]
            content = {"source": str(source), "kept": len(kept), "changes": changes}
            write_json(folder / CHANGES, content)
    except FileExistsError as error:
        raise DataError(str(error)) from error
    return fates


def _write(fate: Fate, folder: Path) -> None:
    data = fate.file.read()
    (folder / fate.target).write_bytes(plain_encoding(data) if fate.convert else data)


def _change(fate: Fate) -> dict:
    return {"source": fate.file.name, "target": None if fate.left_out else fate.target, "why": fate.why}
