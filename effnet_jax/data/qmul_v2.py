"""The original archives of QMUL-Shoe-V2 and QMUL-Chair-V2 to the trainA/trainB/testA/testB layout. No JAX."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from effnet_jax.data.folders import FOLDERS
from effnet_jax.data.problems import DataError
from effnet_jax.data.qmul_archive import SPLITS, Files, QmulArchive, find_parts, open_archive, photo_of
from effnet_jax.images.decode import decode_rgb, encode_png
from effnet_jax.runtime.progress import in_threads, track
from effnet_jax.storage.files import new_folder

DATASETS = ("qmul_shoe_v2", "qmul_chair_v2")
SIZE = 512
"""Pixels on the longer side of a rendered sketch."""


def prepare_qmul_v2(
    archive: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    size: int = SIZE,
    allow_missing: bool = False,
) -> tuple[QmulArchive, dict[str, tuple[int, int]]]:
    """Write an archive in the layout of all data sets: sketches drawn on white, photos byte for byte.

    Args:
        archive: the zip file, or the folder it was unpacked to; it is only read.
        out: a folder that is new or empty. It appears whole or not at all.
        size: pixels on the longer side of a rendered sketch, 32..4096.
        allow_missing: leave out what the archive lacks instead of refusing it.

    Returns:
        What was found, and the sketches and photos written by split.

    Raises:
        DataError: no lists, photos or sketches; names without files; sketches that cannot be drawn; all of them named.
    """
    if not 32 <= size <= 4096:
        raise DataError(f"the size of sketches must lie between 32 and 4096 pixels, got {size}")
    with open_archive(archive) as files:
        parts = find_parts(files)
        render = _renderer(size) if any(path.suffix.lower() == ".svg" for path in parts.sketches.values()) else None
        jobs, without_photo = _jobs(parts)
        try:
            with new_folder(out) as folder:
                for names in FOLDERS.values():
                    for name in names:
                        (folder / name).mkdir()
                written = in_threads(lambda job: _write(*job, files, folder, render), jobs)
                results = list(track(written, total=len(jobs), description="writing pictures"))
                failed = (f"sketch that cannot be drawn: {result}" for result in results if result)
                lacking = (*parts.lacking, *without_photo, *failed)
                if lacking and not allow_missing:
                    raise DataError(_not_whole(archive, lacking))
        except FileExistsError as error:
            raise DataError(str(error)) from error
    counted = Counter(target.partition("/")[0] for (_, target), fault in zip(jobs, results, strict=True) if not fault)
    counts = {split: (counted[FOLDERS[split][0]], counted[FOLDERS[split][1]]) for split in SPLITS}
    return replace(parts, lacking=lacking), counts


def _not_whole(archive: str | os.PathLike[str], lacking: Sequence[str]) -> str:
    listed = "\n".join(f"  {line}" for line in lacking)
    return f"{archive} is not whole:\n{listed}\nFetch it again; --allow-missing (allow_missing) leaves these out."


def _jobs(parts: QmulArchive) -> tuple[list[tuple[PurePosixPath, str]], list[str]]:
    """Each file that is wanted with its name in the layout without extension; the sketches whose photo is left out."""
    jobs, without_photo = [], []
    for split in SPLITS:
        sketch_folder, photo_folder = FOLDERS[split]
        listed = set(parts.lists["photo", split])
        ids = listed & parts.photos.keys()
        if split == "train":
            ids -= set(parts.lists["photo", "test"])
        jobs += [(parts.photos[name], f"{photo_folder}/{name}") for name in sorted(ids)]
        for name in parts.lists["sketch", split]:
            if name in parts.sketches and photo_of(name) in ids:
                jobs.append((parts.sketches[name], f"{sketch_folder}/{name}"))
            elif name in parts.sketches and photo_of(name) in listed:
                without_photo.append(f"sketch whose photo is left out: {name} ({split})")
    return jobs, without_photo


def _write(
    path: PurePosixPath, target: str, files: Files, folder: Path, render: Callable[[bytes], bytes] | None
) -> str:
    """Write one picture; returns what is wrong with it, or nothing."""
    data = files[path]()
    if render is None or path.suffix.lower() != ".svg":
        (folder / f"{target}{path.suffix}").write_bytes(data)
        return ""
    try:
        drawn = decode_rgb(render(data))
    except ValueError as error:
        return f"{path}: {error}"
    if drawn.min() == drawn.max():
        return f"{path}: nothing is drawn in it"
    (folder / f"{target}.png").write_bytes(encode_png(drawn))
    return ""


def _renderer(size: int) -> Callable[[bytes], bytes]:
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise DataError('sketches as SVG need the package resvg_py: pip install -e ".[svg]" in the checkout') from error

    def render(svg: bytes) -> bytes:
        text = svg.decode("utf-8-sig", "replace")
        png = svg_to_bytes(svg_string=text, width=size, background="white", skip_system_fonts=True)
        height = int.from_bytes(png[20:24], "big")  # of the PNG header
        if height > size:
            png = svg_to_bytes(svg_string=text, height=size, background="white", skip_system_fonts=True)
        return png

    return render
