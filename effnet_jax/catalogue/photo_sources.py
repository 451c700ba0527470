"""The files and folders that an index holds the photos of. No JAX."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from effnet_jax.catalogue import layout, part_files
from effnet_jax.catalogue.layout import Manifest
from effnet_jax.data.scan import Found, PhotoPath, absolute


def choose_sources(folder: Path, manifest: Manifest | None, added: Sequence[Any], forget: Sequence[Any]) -> list[str]:
    """Give the index's sources, without those to forget, and the added ones.

    Raises:
        ValueError: none is left, one is not there, or one to forget is unknown.
    """
    sources = list(manifest.sources) if manifest else []
    unknown = [str(f) for f in forget if str(absolute(f)) not in sources]
    if unknown:
        raise ValueError(f"not a source of this index: {', '.join(unknown)}; it has {', '.join(sources) or 'none'}")
    gone = {str(absolute(f)) for f in forget}
    sources = list(dict.fromkeys([s for s in sources if s not in gone] + [str(absolute(a)) for a in added]))
    if not sources:
        if manifest is None and part_files.part_numbers(folder):
            raise ValueError(
                f"{folder / layout.INDEX} is missing, and with it which folders were indexed: give them again; what "
                "was embedded is kept."
            )
        raise ValueError("there is nothing to embed: give files or folders of photos.")
    missing = [s for s in sources if not Path(s).exists()]
    if missing:
        raise _refused("sources that are not there", missing, "gone")
    return sources


def refuse_emptied(sources: Sequence[str], before: Collection[PhotoPath], found: Found) -> None:
    """Take a source that had photos and has none now for one that is missing: a drive that is not mounted.

    Raises:
        ValueError: there is one.
    """
    empty = [source for source in sources if _holds(source, before) and not _holds(source, found.photos)]
    if empty:
        what = "sources that had photos and have none now (a drive that is not mounted?)"
        raise _refused(what, empty, "empty")


def _refused(what: str, sources: Sequence[str], state: str) -> ValueError:
    way_out = f"If they are {state} for good, take them out with --forget; the index stays as it is."
    return ValueError("\n".join([f"{what}:", *(f"  {source}" for source in sources), way_out]))


def _holds(source: str, photos: Collection[PhotoPath]) -> bool:
    inside = os.path.join(source, "")
    return any(photo.path == source or photo.path.startswith(inside) for photo in photos)


def nothing_found(sources: Sequence[str], manifest: Manifest | None, found: Found) -> str:
    """Say that no photo was found, and why."""
    reasons = "".join(f"\n  {path}: {reason}" for path, reason in sorted(found.unreadable)[:20])
    stays = "no index was made" if manifest is None else "the index stays as it is"
    return f"not one photo can be read in {', '.join(sources)}; {stays}.{reasons}"
