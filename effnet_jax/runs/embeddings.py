"""Evaluate embeddings that another system made: one .npz file, the same ranking and the same report."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from effnet_jax.storage.files import DAMAGED_ZIP
from effnet_jax.retrieval.metrics import KS, photo_to_sketch, summarise
from effnet_jax.retrieval.ranking import Ranking, rank_gallery
from effnet_jax.retrieval.evaluation import Evaluation, write_metrics, write_ranks

ARRAYS = {
    "sketch_embeddings": "(s, z) numbers, one row per sketch",
    "photo_embeddings": "(g, z) numbers, one row per photo of the gallery",
    "sketch_ids": "(s,) text, all different",
    "photo_ids": "(g,) text, all different",
    "sketch_photo_ids": "(s,) text, the true photo of each sketch",
}


def evaluate_embeddings(
    path: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    ks: Sequence[int] = KS,
    with_photo_to_sketch: bool = False,
) -> tuple[Evaluation, Ranking]:
    """Rank embeddings from a .npz file and measure them.

    Args:
        path: file with the arrays `sketch_embeddings`, `photo_embeddings`, `sketch_ids`, `photo_ids`,
            `sketch_photo_ids` and, if wished, `tags` (one per sketch). Never unpickled.
        out: folder for metrics.json and ranks.csv; None writes nothing.
        ks: values of K.
        with_photo_to_sketch: measure the other direction too.

    Raises:
        ValueError: arrays that are missing or do not fit together, unknown or repeated ids: all problems at once.
    """
    path = Path(path).expanduser()
    arrays = _read(path)
    photo_ids = [str(x) for x in arrays["photo_ids"]]
    sketch_ids = [str(x) for x in arrays["sketch_ids"]]
    tags = [str(x) for x in arrays["tags"]] if "tags" in arrays else None
    rows = {photo: row for row, photo in enumerate(photo_ids)}
    photo_index = np.array([rows[str(x)] for x in arrays["sketch_photo_ids"]], np.int32)
    sketches, photos = arrays["sketch_embeddings"], arrays["photo_embeddings"]
    ranking = rank_gallery(sketches, photos, photo_index)
    note = f"Embeddings of {path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}."
    evaluation = Evaluation(
        summary=summarise(ranking, photo_index, tags=tags, ks=ks, notes=[note]),
        dataset=path.name,
        split="embeddings",
        split_sha256=None,
        step=None,
        selection="not known: embeddings were given",
        seed=None,
        photo_to_sketch=photo_to_sketch(sketches, photos, photo_index, ks=ks) if with_photo_to_sketch else None,
    )
    if out is not None:
        write_metrics(Path(out) / "metrics.json", [evaluation])
        write_ranks(Path(out) / "ranks.csv", ranking, sketch_ids, photo_ids, photo_index)
    return evaluation, ranking


def _read(path: Path) -> dict[str, np.ndarray]:
    """Load the arrays and check that they fit together."""
    if not path.is_file():
        raise ValueError(f"{path} is not there. It must be a .npz file with {_wanted()}.")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in (*ARRAYS, "tags") if name in file.files}
    except (ValueError, AttributeError, TypeError, *DAMAGED_ZIP) as error:
        raise ValueError(
            f"{path} is not a .npz file of plain arrays ({error}). Save ids as text, np.array(ids, str), not objects."
        ) from error
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}. It must hold {_wanted()}.")
    problems = _shape_problems(arrays) or _id_problems(arrays)
    if problems:
        raise ValueError(f"{path} cannot be ranked:\n" + "\n".join(f"  {problem}" for problem in problems))
    return arrays


def _wanted() -> str:
    return "; ".join(f"{name}: {what}" for name, what in ARRAYS.items()) + "; optional tags: (s,) text"


def _shape_problems(arrays: dict[str, np.ndarray]) -> list[str]:
    problems = []
    for name in ("sketch_embeddings", "photo_embeddings"):
        x = arrays[name]
        if x.ndim != 2 or x.dtype.kind not in "fiu" or x.dtype.itemsize > 8:
            problems.append(f"{name} must be {ARRAYS[name]}; it is {x.dtype} {x.shape}")
    s, g = len(np.atleast_1d(arrays["sketch_embeddings"])), len(np.atleast_1d(arrays["photo_embeddings"]))
    for name, length in (("sketch_ids", s), ("sketch_photo_ids", s), ("tags", s), ("photo_ids", g)):
        if name in arrays and arrays[name].shape != (length,):
            problems.append(f"{name} must have shape ({length},), like the embeddings; it has {arrays[name].shape}")
    return problems


def _id_problems(arrays: dict[str, np.ndarray]) -> list[str]:
    problems = []
    for name in ("sketch_ids", "photo_ids"):
        twice = sorted(str(x) for x, count in Counter(arrays[name].tolist()).items() if count > 1)
        if twice:
            problems.append(f"{name} more than once: {', '.join(twice)}")
    known = {str(x) for x in arrays["photo_ids"]}
    unknown = sorted({str(x) for x in arrays["sketch_photo_ids"]} - known)
    if unknown:
        problems.append(f"sketch_photo_ids that are not in photo_ids: {', '.join(unknown)}")
    return problems
