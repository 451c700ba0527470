"""Compare runs: rows of one or several seeds, Acc@K with intervals, and paired differences between all rows."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from effnet_jax.comparison.answered import Answered, check_comparable, read_run
from effnet_jax.retrieval.difference import Difference, holm, paired_difference
from effnet_jax.retrieval.intervals import photo_interval
from effnet_jax.retrieval.metrics import KS, Measure


@dataclass(frozen=True, eq=False)
class Row:
    """One system: a run, or several seeds of one configuration.

    Attributes:
        name: shown.
        runs: of different seeds.
        photos: number of each query's photo, in the order of the queries.
    """

    name: str
    runs: tuple[Answered, ...]
    photos: Int[np.ndarray, " s"]

    def values(self, measure: str) -> Float[np.ndarray, " s"]:
        """Each query's value, the mean over seeds."""
        return np.mean([run.values(measure) for run in self.runs], axis=0)

    def measure(self, measure: str) -> Measure:
        """Mean over queries and seeds with the interval over photos; the seeds are taken as they are."""
        values = self.values(measure)
        return Measure(float(values.mean()), *photo_interval(values, self.photos))

    def by_seed(self, measure: str) -> Float[np.ndarray, " r"]:
        """The mean over queries of each run."""
        return np.array([run.values(measure).mean() for run in self.runs])

    @property
    def selection(self) -> str:
        """How the checkpoints were chosen."""
        return "; ".join(dict.fromkeys(run.selection for run in self.runs))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Rows on the same queries, and the differences between them.

    Attributes:
        rows: in the order of the runs.
        measures: "acc@1", ..., "mrr".
        differences: by (first row, second row, measure): first minus second.
        adjusted: p-values of the same, adjusted for the number of pairs of rows (Holm).
        notes: sentences a reader of the figures needs.
    """

    rows: tuple[Row, ...]
    measures: tuple[str, ...]
    differences: dict[tuple[int, int, str], Difference]
    adjusted: dict[tuple[int, int, str], float]
    notes: tuple[str, ...]

    @property
    def asked(self) -> Answered:
        """A run that stands for what all were asked."""
        return self.rows[0].runs[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: shares from 0 to 1, intervals as [low, high]."""
        asked = self.asked
        return {
            "dataset": asked.dataset,
            "split": asked.split,
            "split_sha256": asked.split_sha256,
            "queries": len(asked.sketch_ids),
            "query_photos": len(set(asked.photo_ids)),
            "gallery": asked.gallery,
            "rows": [self._row(row) for row in self.rows],
            "differences": [
                {
                    "first": self.rows[i].name,
                    "second": self.rows[j].name,
                    "measure": measure,
                    **difference.to_dict(),
                    "p_holm": self.adjusted[i, j, measure],
                }
                for (i, j, measure), difference in self.differences.items()
            ],
            "notes": list(self.notes),
        }

    def _row(self, row: Row) -> dict[str, Any]:
        measures = {}
        for name in self.measures:
            measure, seeds = row.measure(name), row.by_seed(name)
            measures[name] = {
                "value": measure.value,
                "interval_95": [measure.low, measure.high],
                "by_seed": seeds.tolist(),
                "spread": float(seeds.std(ddof=1)) if len(seeds) > 1 else None,
            }
        return {
            "name": row.name,
            "runs": [str(run.path) for run in row.runs],
            "seeds": [run.seed for run in row.runs],
            "selection": row.selection,
            **measures,
        }


def compare_runs(
    runs: Sequence[str | os.PathLike[str]],
    *,
    checkpoint: str = "last",
    ks: Sequence[int] = KS,
    per_run: bool = False,
) -> Comparison:
    """Compare evaluated runs on the queries that all of them were asked.

    Args:
        runs: folders, or NAME=FOLDER; two or more.
        checkpoint: which one of each run: "last", "best" (on validation, else the last), "best_on_validation",
            "best_on_test", or a step.
        ks: values of K. Those beyond the gallery are left out, with a note.
        per_run: keep seeds of one configuration apart.

    Raises:
        ValueError: fewer than two rows, or runs whose queries, gallery or files differ; how they differ is said.
    """
    read = [read_run(path, checkpoint=checkpoint, name=name) for name, path in map(_named, runs)]
    if len(read) < 2:
        raise ValueError("A comparison needs two runs or more.")
    notes = check_comparable(read)
    groups = [[run] for run in read] if per_run else _by_configuration(read)
    if len(groups) < 2:
        raise ValueError("All runs are seeds of one configuration; --per-run compares the seeds with each other.")
    _, photos = np.unique(read[0].photo_ids, return_inverse=True)
    rows = tuple(Row(name, tuple(g), photos) for name, g in zip(_row_names(groups), groups, strict=True))
    if any(k < 1 for k in ks):
        raise ValueError(f"Acc@K needs K >= 1, got {', '.join(map(str, sorted(ks)))}.")
    gallery = min(run.gallery for run in read)
    left_out = sorted({k for k in ks if k > gallery})
    if left_out:
        notes.append(f"{', '.join(f'Acc@{k}' for k in left_out)} left out: the gallery has {gallery} photos.")
    if any(len(row.runs) > 1 for row in rows):
        notes.append("Of several seeds, the mean: intervals and tests are over photos, the spread (±) is over seeds.")
    measures = (*(f"acc@{k}" for k in sorted({k for k in ks if k <= gallery})), "mrr")
    differences, adjusted = _differences(rows, measures)
    return Comparison(rows, measures, differences, adjusted, tuple(notes))


def _differences(
    rows: Sequence[Row], measures: Sequence[str]
) -> tuple[dict[tuple[int, int, str], Difference], dict[tuple[int, int, str], float]]:
    pairs = list(combinations(range(len(rows)), 2))
    differences = {
        (i, j, measure): paired_difference(rows[i].values(measure), rows[j].values(measure), rows[0].photos)
        for i, j in pairs
        for measure in measures
    }
    adjusted = {}
    for measure in measures:
        p_values = np.array([differences[i, j, measure].p_value for i, j in pairs])
        adjusted |= {(i, j, measure): float(p) for (i, j), p in zip(pairs, holm(p_values), strict=True)}
    return differences, adjusted


def _named(run: str | os.PathLike[str]) -> tuple[str, Path]:
    text = os.fspath(run)
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return "", Path(text)
    if not name or not path:
        raise ValueError(f"{text!r} should be a folder or NAME=FOLDER")
    return name, Path(path)


def _by_configuration(runs: Sequence[Answered]) -> list[list[Answered]]:
    """Seeds of one configuration together; a run that repeats a seed stands by itself."""
    groups: list[list[Answered]] = []
    for run in runs:
        for group in groups:
            same = run.settings is not None and run.settings == group[0].settings and run.name == group[0].name
            if same and run.seed is not None and run.seed not in {other.seed for other in group}:
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _row_names(groups: Sequence[Sequence[Answered]]) -> list[str]:
    """The name that was given, else that of the folder; where two rows have the same, their paths, else numbers."""
    for name, count in Counter(group[0].name for group in groups if group[0].name).items():
        if count > 1:
            rows = ", ".join(str(group[0].path) for group in groups if group[0].name == name)
            raise ValueError(f"the name {name} stands for {count} rows: {rows}; give each its own.")
    short = [group[0].name or _common_name(group) for group in groups]
    names = [
        name if short.count(name) == 1 or group[0].name else str(group[0].path)
        for group, name in zip(groups, short, strict=True)
    ]
    return [f"{n} ({names[: i + 1].count(n)})" if names.count(n) > 1 else n for i, n in enumerate(names)]


def _common_name(group: Sequence[Answered]) -> str:
    """What the names of the folders begin with, without the word "seed"."""
    folders = [run.path.resolve().name for run in group]
    if len(folders) == 1:
        return folders[0]
    common = takewhile(lambda letters: len(set(letters)) == 1, zip(*folders, strict=False))
    return re.sub(r"[-_. ]*(seed)?[-_. ]*$", "", "".join(letters[0] for letters in common)) or folders[0]
