"""What a run answered: its ranks.csv beside its metrics.json, and whether two runs were asked the same."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from effnet_jax.retrieval.metrics import reciprocal_rank
from effnet_jax.retrieval.ranking import credit_at_k
from effnet_jax.runs.results import folder_of, read_json

CHECKPOINTS = {
    "last": ("last", "latest"),
    "best_on_validation": ("best on validation",),
    "best_on_test": ("best on test",),
}
"""Folder of a run, and how the selection rule in metrics.json begins."""

_NAMED = 100  # ids named in an error; the rest is counted
_FEW = 3  # where the data sets are others anyway


@dataclass(frozen=True, eq=False)
class Answered:
    """One run's answers to every query.

    Attributes:
        name: of the row it belongs to, where the user gave one; else "".
        path: folder of the run.
        dataset: name.
        split: name.
        split_sha256: None for embeddings from elsewhere.
        gallery: photos searched.
        gallery_ids: None where they are not written down.
        selection: how the checkpoint was chosen.
        seed: of the training run; None where not known.
        settings: the configuration without its seed; None where there is none.
        sketch_ids: the queries, in code point order.
        photo_ids: true photo of each query.
        better: photos with a higher score than the true one.
        tied: others with the same score.
    """

    name: str
    path: Path
    dataset: str
    split: str
    split_sha256: str | None
    gallery: int
    gallery_ids: frozenset[str] | None
    selection: str
    seed: int | None
    settings: dict[str, Any] | None
    sketch_ids: tuple[str, ...]
    photo_ids: tuple[str, ...]
    better: Int32[np.ndarray, " s"]
    tied: Int32[np.ndarray, " s"]

    def values(self, measure: str) -> Float[np.ndarray, " s"]:
        """Each query's value of "acc@K" or "mrr", 0..1."""
        if measure == "mrr":
            return reciprocal_rank(self.better, self.tied)
        return credit_at_k(self.better, self.tied, int(measure.removeprefix("acc@")))


def read_run(path: Path | str, *, checkpoint: str = "last", name: str = "") -> Answered:
    """Read one run.

    Args:
        path: its folder, with metrics.json; or the folder of one evaluation in it, such as `run/last_rerank`.
        checkpoint: a key of `CHECKPOINTS`; of no meaning for embeddings that were evaluated by themselves.
        name: of its row.

    Raises:
        ValueError: files that are missing, damaged or of another evaluation.
    """
    path = Path(path)
    evaluation = ""
    if not (path / "metrics.json").is_file() and (path.parent / "metrics.json").is_file():
        path, evaluation = path.parent, path.name
    metrics = read_json(path / "metrics.json", f"{path} holds no evaluated run")
    results = metrics.get("results") or [{}]
    if evaluation:
        result, ranks = _evaluation(path, evaluation, results), path / evaluation / "ranks.csv"
    elif (path / "ranks.csv").is_file():
        result, ranks = results[0], path / "ranks.csv"
    else:
        result, folder = _chosen(path, checkpoint, results)
        ranks = path / folder / "ranks.csv"
    try:
        asked = _read_ranks(ranks)
        answered = Answered(
            name=name,
            path=path / evaluation,
            dataset=result["dataset"],
            split=result["split"],
            split_sha256=result["split_sha256"],
            gallery=result["gallery"],
            gallery_ids=_gallery_ids(path, result["split"]),
            selection=result["selection"],
            seed=result["seed"],
            settings=_settings(path, result),
            **asked,
        )
    except KeyError as error:
        raise ValueError(f"{path}/metrics.json lacks {error}; evaluate the run again") from error
    _check_agreement(answered, result, ranks)
    return answered


def _chosen(path: Path, checkpoint: str, results: list[dict[str, Any]]) -> tuple[dict[str, Any], str]:
    """The result of that checkpoint, the encoder's where there is one, and its folder; the last may be the best too."""
    begins = CHECKPOINTS[checkpoint]
    chosen = []
    for result in results:
        selection = str(result.get("selection", ""))
        if selection.startswith(begins) or any(f", also {words}" in selection for words in begins):
            chosen.append(result)
    if chosen:
        result = next((r for r in chosen if r.get("protocol", "encoder") == "encoder"), chosen[0])
        return result, folder_of(result)
    there = ", ".join(repr(r.get("selection")) for r in results)
    raise ValueError(f"{path} has no checkpoint {checkpoint}; its metrics.json has {there}")


def _evaluation(path: Path, name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    there = {folder_of(result): result for result in results if "selection" in result}
    if name not in there:
        raise ValueError(f"{path} has no evaluation {name}; it has {', '.join(sorted(there))}")
    return there[name]


def check_comparable(runs: Sequence[Answered]) -> tuple[str, ...]:
    """Make sure that all runs were asked the same queries and searched the same gallery.

    Returns:
        Sentences on what could not be checked.

    Raises:
        ValueError: they were not; every difference from the first run is named.
    """
    first, problems, notes = runs[0], [], []
    for other in runs[1:]:
        found = _asked_differently(first, other)
        if found:
            problems += [f"{other.path}, against {first.path}:", *(f"  {line}" for line in found)]
    unknown = [str(run.path) for run in runs if run.split_sha256 is None]
    if unknown:
        notes.append(f"No split hash in {', '.join(unknown)}: names were compared there, not the files behind them.")
    if problems:
        raise ValueError("These runs cannot be compared, they were not asked the same:\n" + "\n".join(problems))
    return tuple(notes)


def _asked_differently(first: Answered, other: Answered) -> list[str]:
    lines = []
    hashes = first.split_sha256, other.split_sha256
    most = _NAMED
    if None not in hashes:
        if (first.dataset, first.split) != (other.dataset, other.split):
            most = _FEW
            lines.append(f"{other.dataset} / {other.split} instead of {first.dataset} / {first.split}")
        if hashes[0] != hashes[1]:
            lines.append(f"split hash {hashes[1]} instead of {hashes[0]}")
    lines += _sets_differ("queries", set(first.sketch_ids), set(other.sketch_ids), most)
    truth = dict(zip(first.sketch_ids, first.photo_ids, strict=True))
    wrong = [s for s, p in zip(other.sketch_ids, other.photo_ids, strict=True) if truth.get(s, p) != p]
    if wrong:
        lines.append(f"{len(wrong)} queries have another true photo: {_listed(wrong, most)}")
    if first.gallery_ids is not None and other.gallery_ids is not None:
        lines += _sets_differ("photos of the gallery", set(first.gallery_ids), set(other.gallery_ids), most)
    elif first.gallery != other.gallery:
        lines.append(f"a gallery of {other.gallery} photos instead of {first.gallery}")
    if len(lines) == 1 and lines[0].startswith("split hash"):
        lines.append("the names are the same, so some files have other contents")
    return lines


def _sets_differ(what: str, first: set[str], other: set[str], most: int) -> list[str]:
    lines = []
    for these, word in ((first - other, "missing"), (other - first, "added")):
        if these:
            lines.append(f"{len(these)} {what} {word}: {_listed(sorted(these), most)}")
    return lines


def _listed(names: Sequence[str], most: int = _NAMED) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _read_ranks(path: Path) -> dict[str, Any]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        rows = sorted((r["sketch_id"], r["true_photo_id"], int(r["better"]), int(r["tied"])) for r in lines)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); evaluate the run again") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}); evaluate the run again") from error
    twice = sorted(name for name, count in Counter(row[0] for row in rows).items() if count > 1)
    if not rows or twice:
        raise ValueError(f"{path} " + (f"has queries more than once: {_listed(twice)}" if rows else "holds no query"))
    return {
        "sketch_ids": tuple(row[0] for row in rows),
        "photo_ids": tuple(row[1] for row in rows),
        "better": np.array([row[2] for row in rows], np.int32),
        "tied": np.array([row[3] for row in rows], np.int32),
    }


def _check_agreement(run: Answered, result: dict[str, Any], ranks: Path) -> None:
    """Refuse a ranks.csv that is not the one behind metrics.json."""
    for measure, stated in result.items():
        if not measure.startswith("acc@"):
            continue
        found = float(run.values(measure).mean())
        if abs(found - stated["value"]) > 1e-9:
            raise ValueError(
                f"{ranks} gives {measure} {found:.4f}, metrics.json {stated['value']:.4f}: "
                "they are of two evaluations; evaluate the run again"
            )


def _gallery_ids(path: Path, split: str) -> frozenset[str] | None:
    try:
        return frozenset(json.loads((path / "split.json").read_text(encoding="utf-8"))[split]["photo_ids"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _settings(path: Path, result: dict[str, Any]) -> dict[str, Any] | None:
    """The configuration without what is free to differ between runs of one (seed, places, logs), and the protocol."""
    from effnet_jax.runs.workdir import FREE_FIELDS, FREE_SECTIONS, with_new_fields

    try:
        settings = with_new_fields(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    for field in (*FREE_SECTIONS, *FREE_FIELDS, "train.seed"):
        *sections, last = field.split(".")
        inside = settings
        for section in sections:
            inside = inside.get(section, {})
        inside.pop(last, None)
    return {**settings, "protocol": result.get("protocol", "encoder")}
