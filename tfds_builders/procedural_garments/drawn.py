"""The procedural garments as files in memory, drawn by several processes.

Drawing needs neither JAX nor TFDS. A drawing process imports TFDS all the same, about a second once: it lies in
tfds_builders, whose import registers the data sets.
"""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from hashlib import sha256
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from effnet_jax.data.folders import FolderSplit, PhotoFile, SketchFile
from effnet_jax.images.decode import encode_png
from effnet_jax.runtime.progress import track
from tfds_builders.procedural_garments.garments import GarmentSet, split_plan

log = logging.getLogger(__name__)

_Job = tuple[int, str, str]  # seed, role, id


def draw_garments(seed: int = 0, *, workers: int | None = None) -> tuple[dict[str, FolderSplit], dict[Path, bytes]]:
    """Draw the whole set.

    Args:
        seed: of the set.
        workers: processes that draw; None is one per core, 0 draws in this process. The pictures do not depend on it.

    Returns:
        The splits, and the PNG file behind each of their paths (which are names only). A picture's SHA-256 is that of
        its pixels: it does not change with the library that packs the PNG.

    Raises:
        ValueError: workers is negative.
    """
    if workers is not None and workers < 0:
        raise ValueError(
            f"workers={workers}: give the number of drawing processes, 0 for none, or None for one per core"
        )
    plan = split_plan(seed)
    jobs = [(seed, "photo", photo_id) for photo_ids in plan.photos.values() for photo_id in photo_ids]
    jobs += [(seed, "sketch", sketch.sketch_id) for sketches in plan.sketches.values() for sketch in sketches]
    files: dict[Path, bytes] = {}
    drawn: dict[str, tuple[Path, str]] = {}  # by id: a sketch's is no photo's, since it ends with a tag
    for (_, role, picture_id), (png, pixels_hash) in zip(jobs, _drawn(jobs, workers), strict=True):
        path = Path(f"{role}/{picture_id}.png")
        files[path], drawn[picture_id] = png, (path, pixels_hash)
    splits = {}
    for name, sketches in plan.sketches.items():
        sketch_files = (SketchFile(s.sketch_id, s.photo_id, s.tag, *drawn[s.sketch_id]) for s in sketches)
        photo_files = (PhotoFile(photo_id, *drawn[photo_id]) for photo_id in plan.photos[name])
        splits[name] = FolderSplit(name, tuple(sketch_files), tuple(photo_files))
    return splits, files


def _drawn(jobs: list[_Job], workers: int | None) -> Iterator[tuple[bytes, str]]:
    def show(results: Iterator[tuple[bytes, str]], done: int = 0) -> Iterator[tuple[bytes, str]]:
        return track(results, total=len(jobs) - done, description="drawing garments")

    if workers == 0:
        yield from show(map(_draw, jobs))
        return
    done = 0
    try:
        # Fresh processes: a fork of a process in which JAX runs threads may hang.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
            for result in show(pool.map(_draw, jobs, chunksize=16)):
                yield result
                done += 1
    except BrokenProcessPool:
        # Most often a script that starts its work without asking `if __name__ == "__main__":`.
        log.warning("the drawing processes did not start; drawing in this process, which takes longer")
        yield from show(map(_draw, jobs[done:]), done)


def _end_with_parent() -> None:
    """Let a drawing process end when the one that started it is killed, which runs none of its clean-up."""
    parent = parent_process()
    if parent is not None:
        Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _draw(job: _Job) -> tuple[bytes, str]:
    seed, role, picture_id = job
    drawing = _garment_set(seed)
    pixels = drawing.photo(picture_id) if role == "photo" else drawing.sketch(picture_id)
    return encode_png(pixels), sha256(pixels.tobytes()).hexdigest()


@lru_cache(maxsize=1)
def _garment_set(seed: int) -> GarmentSet:
    return GarmentSet(seed)
