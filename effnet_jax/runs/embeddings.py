"""Evaluate embeddings that another system made: one .npz file, the same ranking and the same report."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from effnet_jax.config import ConfigError
from effnet_jax.retrieval.evaluation import Evaluation
from effnet_jax.retrieval.metrics import KS, photo_to_sketch, summarise
from effnet_jax.retrieval.ranking import Ranking, rank_gallery
from effnet_jax.runs.folder import Run
from effnet_jax.runs.opening import refuse_foreign
from effnet_jax.runs.results import read_embeddings, write_metrics, write_ranks


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
        ConfigError: `out` holds a training run, or another program's files that would be lost.
    """
    path = Path(path).expanduser()
    run = None if out is None else Run(out)
    if run is not None:
        refuse_foreign(run)
        if run.config_file.exists():
            raise ConfigError(
                f"{run.folder} is the folder of a training run, whose results would be lost; give another."
            )
    given = read_embeddings(path)
    ranking = rank_gallery(given.sketches, given.photos, given.photo_index)
    note = f"Embeddings of {path.name}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}."
    reverse = photo_to_sketch(given.sketches, given.photos, given.photo_index, ks=ks) if with_photo_to_sketch else None
    evaluation = Evaluation(
        summary=summarise(ranking, given.photo_index, tags=given.tags, ks=ks, notes=[note]),
        dataset=path.name,
        split="embeddings",
        split_sha256=None,
        step=None,
        selection="not known: embeddings were given",
        seed=None,
        photo_to_sketch=reverse,
    )
    if run is not None:
        write_metrics(run.metrics_file, [evaluation])
        write_ranks(run.ranks_file(), ranking, given.sketch_ids, given.photo_ids, given.photo_index)
    return evaluation, ranking
