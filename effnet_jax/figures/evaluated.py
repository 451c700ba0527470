"""One evaluation of a run, as figures are drawn from it: its ranks, embeddings and entry in the report."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from effnet_jax.retrieval.ranking import Ranking
from effnet_jax.runs.choice import BEST, LAST, Choice
from effnet_jax.runs.folder import Run
from effnet_jax.runs.results import SavedEmbeddings, by_name


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of a run.

    Attributes:
        run: its folder.
        name: of its folder in the run, such as "last".
        default: the one that is shown where none is asked for.
        figures: its entry in metrics.json.
        saved: ids, tags and embeddings of its sketches and of its gallery.
        ranking: of every sketch.
    """

    run: Run
    name: str
    default: bool
    figures: Mapping[str, Any]
    saved: SavedEmbeddings
    ranking: Ranking

    @property
    def step(self) -> int:
        """Training step of the checkpoint."""
        return int(self.figures["checkpoint_step"])

    @property
    def caption(self) -> str:
        """Counts, protocol, selection rule and step, in words."""
        return self._described(f"; protocol {self.figures['protocol']}")

    @property
    def encoder_caption(self) -> str:
        """The same for what shows the encoder whatever protocol ranked: its embeddings and its attention."""
        return self._described("; encoder embeddings")

    def _described(self, by_another_protocol: str) -> str:
        f = self.figures
        return (
            f"{f['dataset']} / {f['split']}: {f['queries']} sketches of {f['query_photos']} photos, gallery of "
            f"{f['gallery']} photos; checkpoint: {f['selection']}, step {self.step}"
        ) + ("" if f["protocol"] == "encoder" else by_another_protocol)


def read_evaluated(folder: str | os.PathLike[str], name: str | None = None) -> Evaluated:
    """Read one evaluation of a run.

    Args:
        folder: of the run.
        name: of the evaluation, by any rule that came to its checkpoint; None takes that of the best on validation
            where there is one, else of the last.

    Raises:
        ValueError: no run, no such evaluation, or files that do not belong together.
    """
    run = Run(folder)
    if not run.metrics_file.is_file():
        way_out = "Train it, or run main.py --mode=evaluate."
        raise ValueError(f"{run.folder} has no {run.metrics_file.name}: it is no evaluated run. {way_out}")
    results = [f for f in run.metrics["results"] if run.ranks_file(f["folder"]).is_file()]
    present = by_name(results)
    default = next((n for n in Choice(BEST).rules if n in present), LAST)
    name = default if name is None else name
    if name not in present:
        raise ValueError(f"{run.folder} has no evaluation {name!r}; it has {', '.join(sorted(present)) or 'none'}.")
    figures = present[name]
    place = _embedded(run, results, figures["checkpoint_step"])
    saved = run.embeddings(place)
    if len(saved.sketch_ids) != figures["queries"] or len(saved.photo_ids) != figures["gallery"]:
        raise ValueError(
            f"{run.embeddings_file(place)} and {run.metrics_file.name} are of different evaluations; evaluate again."
        )
    ranking = _ranking(run, figures["folder"], saved)
    return Evaluated(run, figures["folder"], figures is present.get(default), figures, saved, ranking)


def _embedded(run: Run, results: Sequence[Mapping[str, Any]], step: int) -> str:
    """Name the evaluation of a step that has embeddings, which other protocols rank too."""
    for result in results:
        if (result["protocol"], result["checkpoint_step"]) == ("encoder", step):
            return result["folder"]
    raise ValueError(f"{run.folder} has no embeddings of step {step}; evaluate it with the protocol encoder too.")


def _ranking(run: Run, name: str, saved: SavedEmbeddings) -> Ranking:
    """Make the ranking of the run's ranks, which must be about the very sketches and photos of the embeddings."""
    ranks, rows = run.ranks(name), {photo: row for row, photo in enumerate(saved.photo_ids)}
    unknown = sorted({photo for found in ranks.found for photo in found} - rows.keys())
    if ranks.sketch_ids != saved.sketch_ids or unknown:
        what = f"photos that are not in the gallery: {', '.join(unknown[:20])}" if unknown else "other sketches"
        raise ValueError(f"{run.ranks_file(name)} is damaged (it is about {what}); evaluate the run again.")
    return Ranking(
        better=ranks.better,
        tied=ranks.tied,
        candidates=np.full(len(ranks.better), len(rows), np.int32),
        top_index=np.array([[rows[photo] for photo in found] for found in ranks.found], np.int32),
        top_score=ranks.scores,
    )
