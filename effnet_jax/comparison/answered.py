"""What a run answered: its ranks.csv beside its metrics.json, and whether two runs were asked the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int32

from effnet_jax.data.split import split_measured
from effnet_jax.presentation.listed import listed
from effnet_jax.retrieval.metrics import reciprocal_rank
from effnet_jax.retrieval.ranking import credit_at_k
from effnet_jax.runs.choice import Choice
from effnet_jax.runs.folder import Run
from effnet_jax.runs.opening import settings_of
from effnet_jax.runs.results import by_name

_NAMED = 100  # ids named in an error; the rest is counted
_FEW = 3  # where the data sets are others anyway


@dataclass(frozen=True, eq=False)
class Answered:
    """One run's answers to every query.

    Attributes:
        name: of the row it belongs to, where the user gave one; else "".
        path: as it was given, of the run or of one evaluation in it.
        dataset: name.
        split: name.
        split_sha256: None for embeddings from elsewhere.
        gallery: photos searched.
        gallery_ids: None where they are not written down.
        selection: how the checkpoint was chosen.
        seed: of the training run; None where not known.
        settings: the configuration without what is free to differ between runs of one, and the protocol; None where
            there is none.
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
        checkpoint: a choice of runs.choice; of no meaning for embeddings that were evaluated by themselves.
        name: of its row.

    Raises:
        ValueError: files that are missing, damaged or of another evaluation.
    """
    run, evaluation = Run.containing(path)
    if not run.metrics_file.is_file():
        raise ValueError(f"{path} holds no evaluated run (it has no {run.metrics_file.name})")
    result = _evaluation(run, evaluation) if evaluation else _chosen(run, Choice.of(checkpoint))
    settings = settings_of(run)
    try:
        ranks = run.ranks(result["folder"])
        order = sorted(range(len(ranks.sketch_ids)), key=lambda i: ranks.sketch_ids[i])
        answered = Answered(
            name=name,
            path=Path(path),
            dataset=result["dataset"],
            split=result["split"],
            split_sha256=result["split_sha256"],
            gallery=result["gallery"],
            gallery_ids=_gallery_ids(run, result["split"]),
            selection=result["selection"],
            seed=result["seed"],
            settings=None if settings is None else {**settings, "protocol": result["protocol"]},
            sketch_ids=tuple(ranks.sketch_ids[i] for i in order),
            photo_ids=tuple(ranks.photo_ids[i] for i in order),
            better=ranks.better[order],
            tied=ranks.tied[order],
        )
    except KeyError as error:
        raise ValueError(f"{run.metrics_file} lacks {error}; evaluate the run again") from error
    _check_agreement(answered, result, run.ranks_file(result["folder"]))
    return answered


def _chosen(run: Run, choice: Choice) -> dict[str, Any]:
    """The result of that checkpoint, the encoder's where there is one; of no meaning without a run of ours."""
    results = run.metrics["results"]
    if results and not results[0]["chosen_as"]:  # embeddings that were evaluated by themselves
        return results[0]
    found = [
        r for rule in choice.rules for r in results if rule in r["chosen_as"] or r["checkpoint_step"] == choice.step
    ]
    if found:
        return next((r for r in found if r["protocol"] == "encoder"), found[0])
    there = ", ".join(repr(r["selection"]) for r in results)
    raise ValueError(f"{run.folder} has no checkpoint {choice}; its {run.metrics_file.name} has {there}")


def _evaluation(run: Run, name: str) -> dict[str, Any]:
    there = by_name(run.metrics["results"])
    if name not in there:
        raise ValueError(f"{run.folder} has no evaluation {name}; it has {', '.join(sorted(there))}")
    return there[name]


def check_comparable(runs: Sequence[Answered]) -> list[str]:
    """Make sure that all runs were asked the same queries and searched the same gallery.

    Returns:
        Sentences on what could not be checked.

    Raises:
        ValueError: they were not; every difference from the first run is named.
    """
    first, problems = runs[0], []
    for other in runs[1:]:
        if found := _asked_differently(first, other):
            problems += [f"{other.path}, against {first.path}:", *(f"  {line}" for line in found)]
    if problems:
        raise ValueError("These runs cannot be compared, they were not asked the same:\n" + "\n".join(problems))
    unknown = ", ".join(str(run.path) for run in runs if run.split_sha256 is None)
    return [f"No split hash in {unknown}: names were compared there, not the files behind them."] if unknown else []


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
        lines.append(f"{len(wrong)} queries have another true photo: {listed(wrong, most)}")
    if first.gallery_ids is not None and other.gallery_ids is not None:
        lines += _sets_differ("photos of the gallery", set(first.gallery_ids), set(other.gallery_ids), most)
    elif first.gallery != other.gallery:
        lines.append(f"a gallery of {other.gallery} photos instead of {first.gallery}")
    if len(lines) == 1 and lines[0].startswith("split hash"):
        lines.append("the names are the same, so some files have other contents")
    return lines


def _sets_differ(what: str, first: set[str], other: set[str], most: int) -> list[str]:
    changes = {"missing": first - other, "added": other - first}
    return [f"{len(ids)} {what} {word}: {listed(sorted(ids), most)}" for word, ids in changes.items() if ids]


def _check_agreement(run: Answered, result: dict[str, Any], ranks: Path) -> None:
    """Refuse a ranks.csv that is not the one behind metrics.json."""
    for measure in (name for name in result if name.startswith("acc@")):
        found, stated = float(run.values(measure).mean()), result[measure]["value"]
        if abs(found - stated) > 1e-9:
            raise ValueError(
                f"{ranks} gives {measure} {found:.4f}, metrics.json {stated:.4f}: they are of two evaluations; "
                "evaluate the run again"
            )


def _gallery_ids(run: Run, split: str) -> frozenset[str] | None:
    try:
        return frozenset(run.splits[split_measured(split)].photo_ids)
    except (ValueError, KeyError):
        return None
