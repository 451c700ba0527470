"""Build an index of photos, or bring it up to date: embed what is new, keep what is known, drop what is gone."""

import dataclasses
import datetime
import os
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from effnet_jax.catalogue import layout, part_files
from effnet_jax.catalogue.layout import Manifest
from effnet_jax.catalogue.owned import LOCK, check_place, generations, remove_if_nothing, remove_unused
from effnet_jax.catalogue.parts import PartWriter
from effnet_jax.catalogue.photo_sources import choose_sources, nothing_found, refuse_emptied
from effnet_jax.data.scan import PhotoPath, absolute, find_photos
from effnet_jax.encoders.encoders import Encoders, read_encoders
from effnet_jax.runtime.interrupt import Interrupt
from effnet_jax.storage.files import held

PART_PHOTOS = 1024  # embedded photos after which they are safe on disk; with tokens an eighth of it


@dataclasses.dataclass
class BuildReport:
    """What a build did.

    Attributes:
        photos: in the index now.
        added: paths that were not in it before.
        changed: paths whose content is another one.
        moved: paths whose content was known under a path that is gone.
        removed: paths that are gone, moved ones included.
        embedded: pictures that went through the encoder; the others were known by their content.
        unreadable: path and reason of what could not be read.
        ignored: other files by extension.
        seconds: duration.
    """

    photos: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    embedded: int = 0
    unreadable: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    ignored: dict[str, int] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0


def build_catalogue(
    sources: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    encoders: Encoders | None = None,
    *,
    tokens: bool | None = None,
    forget: Sequence[str | os.PathLike[str]] = (),
    check_contents: bool = False,
    batch_size: int = 64,
    part_photos: int | None = None,
) -> BuildReport:
    """Embed photos into an index folder, or bring the index that is there up to date.

    The index remembers its sources: it holds what is in all of them now. A photo is known by the hash of its file, so
    neither a moved photo nor a second copy is embedded twice. Until the last step readers see the old index; a build
    that is stopped or killed leaves that one, and the same call goes on after the photos that were embedded.

    Args:
        sources: files and folders, with all subfolders; added to those that the index has.
        folder: of the index; made when missing.
        encoders: of a trained run; None takes those of the index.
        tokens: keep the photos' final-norm tokens; None does as the index does, which a new one does not.
        forget: sources to take out of the index.
        check_contents: read every photo; otherwise one whose size and time are unchanged counts as unchanged.
        batch_size: photos encoded at a time.
        part_photos: photos after which they are safe on disk, and after 20 seconds; None: 1024, or 128 with tokens.

    Returns:
        What was embedded, kept and dropped, and what could not be read.

    Raises:
        ValueError: another build is running, encoders of another run, sources that are missing or had photos and have
            none now, not one photo, or a folder that holds something else.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, at once after the second; what was embedded is kept.
    """
    start = time.monotonic()
    folder = absolute(folder)
    check_place(folder)
    if encoders is None and not (folder / layout.MODEL).is_dir():
        raise ValueError(f"there is no index in {folder} yet: give the trained run that makes it (--checkpoint RUN).")
    fresh = not folder.exists() or not any(folder.iterdir())
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder, fresh), Interrupt(insist=(signal.SIGINT, signal.SIGTERM)) as interrupt:
        manifest = layout.read_manifest(folder)
        before = _photos_of(folder, manifest)
        keep_tokens = bool(manifest and manifest.tokens) if tokens is None else tokens
        kept_sources = choose_sources(folder, manifest, sources, forget)
        found = find_photos(kept_sources)
        refuse_emptied(kept_sources, before, found)
        if not found.photos:
            raise ValueError(nothing_found(kept_sources, manifest, found))
        encoders = _claim(folder, manifest, encoders)
        parts = PartWriter(
            folder,
            encoders,
            tokens=keep_tokens,
            batch_size=batch_size,
            part_photos=part_photos or (PART_PHOTOS // 8 if keep_tokens else PART_PHOTOS),
            interrupt=interrupt,
        )
        unchanged = {} if check_contents else parts.unchanged(found, before)
        del before  # the old table is read again at the end rather than held while photos are embedded
        hashes = parts.embed(found, unchanged)
        if not found.photos:
            raise ValueError(nothing_found(kept_sources, manifest, found))
        photos, paths = parts.table(found.photos, hashes)
        generation = max([manifest.generation if manifest else 0, *generations(folder)]) + 1
        width = part_files.part_array(folder, int(photos["part"][0]), "embeddings").shape[1]
        layout.write_generation(folder, generation, photos, paths, width)
        present = Manifest(
            generation=generation,
            photos=len(photos),
            width=width,
            tokens=keep_tokens,
            sources=tuple(kept_sources),
            unreadable=tuple(sorted(found.unreadable)),
            fingerprint=encoders.fingerprint,
            written=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )
        report = _compare(_photos_of(folder, manifest), found.photos, hashes)
        layout.write_manifest(folder, present)
        remove_unused(folder, present, set(photos["part"].tolist()))
    report.embedded, report.unreadable = parts.embedded, list(present.unreadable)
    report.ignored, report.seconds = dict(found.ignored), time.monotonic() - start
    return report


def _photos_of(folder: Path, manifest: Manifest | None) -> dict[PhotoPath, bytes]:
    """Give the photos of the index with their content hashes.

    There are none where its table is damaged, for this build makes it anew from the sources and the parts.
    """
    if manifest is None:
        return {}
    try:
        table = layout.open_table(folder, manifest)
        rows = zip(table.all_paths(), table.photos.tolist(), strict=True)
    except layout.NotWhole:
        return {}
    return {PhotoPath(path, size, mtime_ns): bytes(sha256) for path, (sha256, size, mtime_ns, *_) in rows}


def _claim(folder: Path, manifest: Manifest | None, encoders: Encoders | None) -> Encoders:
    """Give the encoders of the index; a folder that holds embeddings of others is refused."""
    place = folder / layout.MODEL
    if encoders is not None and not (manifest or part_files.part_numbers(folder)):
        encoders.save(place)  # nothing was embedded yet
        return encoders
    try:
        ours = read_encoders(place)
    except ValueError:
        if encoders is None or manifest is None or encoders.fingerprint != manifest.fingerprint:
            raise
        encoders.save(place)  # the same ones are given, and those of the index are damaged
        return encoders
    if manifest is not None and manifest.fingerprint != ours.fingerprint:
        raise ValueError(f"{folder} mixes two models: index.json and {place} disagree; embed into another folder.")
    if encoders is not None and encoders.fingerprint != ours.fingerprint:
        raise ValueError(
            f"{folder} holds embeddings of another checkpoint, and the two cannot be compared:\n"
            f"  there: {_origin(ours)}\n  given: {_origin(encoders)}\n"
            "Embed into another folder (--out), or remove that one first."
        )
    if encoders is not None and encoders.pair_module is not None:
        encoders.save(place)  # a stage-2 run on the same encoders brings what re-ranks
        return encoders
    if encoders is not None and encoders.late != ours.late:
        ours = dataclasses.replace(ours, late=encoders.late)
        ours.save(place)
    return ours


def _origin(encoders: Encoders) -> str:
    origin = encoders.origin
    return f"step {origin.get('step')} of {origin.get('run')} (fingerprint {encoders.fingerprint[:12]})"


def _compare(before: dict[PhotoPath, bytes], photos: Collection[PhotoPath], hashes: dict[str, bytes]) -> BuildReport:
    known = {photo.path: sha256 for photo, sha256 in before.items()}
    added = [p.path for p in photos if p.path not in known]
    removed = known.keys() - {p.path for p in photos}
    gone = {known[path] for path in removed}
    return BuildReport(
        photos=len(photos),
        added=len(added),
        changed=sum(p.path in known and known[p.path] != hashes[p.path] for p in photos),
        moved=sum(hashes[path] in gone for path in added),
        removed=len(removed),
    )


@contextmanager
def _alone(folder: Path, fresh: bool) -> Iterator[None]:
    """Hold the index alone; the lock is free again when its holder dies. A fresh folder that got nothing goes."""

    def refuse(holder: str) -> ValueError:
        return ValueError(f"another effnet-jax embed is writing {folder} ({holder}); wait for it.")

    with held(folder / LOCK, refuse=refuse):
        try:
            yield
        finally:
            if fresh:
                remove_if_nothing(folder)
