"""An evaluation: figures and where they come from, and the table of several on the console."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from effnet_jax.retrieval.metrics import Measure, Summary

COLUMNS = 3  # of a table on the console
PROTOCOLS = {
    "encoder": "every embedding from its own image alone, one cosine per pair",
    "late": "every sketch with every photo, scored by their patches",
    "late_rerank": "the encoder's shortlist, scored anew by patches",
    "rerank": "the encoder's shortlist, scored anew by TRSM",
    "all_pairs": "every sketch with every photo, scored by TRSM",
    "fused": "every sketch with every photo, by TRSM and the encoder's cosine together",
    "fused_rerank": "the encoder's shortlist, scored anew by both together",
    "paired": "the published one, which depends on the order of the queries; for comparison only",
}


@dataclass(frozen=True)
class Evaluation:
    """A summary and where its numbers come from.

    Attributes:
        summary: sketch to photo.
        dataset: name.
        split: name, such as "test".
        split_sha256: hash of the split's files; None where they are not known.
        step: training step of the checkpoint; None without one.
        selection: how the checkpoint was chosen, such as "last" or "best on validation".
        seed: of the training run; None where not known.
        protocol: how pairs were scored, of PROTOCOLS.
        photo_to_sketch: the other direction, where asked for.
        chosen_as: rules that came to this checkpoint, of runs.choice; none without a run.
        folder: subfolder of the run with what belongs to it; "" without one.
    """

    summary: Summary
    dataset: str
    split: str
    split_sha256: str | None
    step: int | None
    selection: str
    seed: int | None
    protocol: str = "encoder"
    photo_to_sketch: Summary | None = None
    chosen_as: tuple[str, ...] = ()
    folder: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        other = {} if self.photo_to_sketch is None else {"photo_to_sketch": self.photo_to_sketch.to_dict()}
        return {
            "dataset": self.dataset,
            "split": self.split,
            "split_sha256": self.split_sha256,
            "checkpoint_step": self.step,
            "selection": self.selection,
            "chosen_as": list(self.chosen_as),
            "folder": self.folder,
            "seed": self.seed,
            "protocol": self.protocol,
            **self.summary.to_dict(),
            **other,
        }


def print_evaluations(evaluations: Sequence[Evaluation], console: Any = None) -> None:
    """Print one row per evaluation, then tags and notes: every figure with its counts, interval and selection rule.

    Args:
        evaluations: in the order of the rows; one table per data set and split.
        console: a rich Console; None prints to standard output.
    """
    from rich.console import Console
    from rich.markup import escape

    console = console or Console()
    for (dataset, split), group in _by_split(evaluations).items():
        shape = f"{group[0].summary.queries} sketches of {group[0].summary.query_photos} photos"
        title = f"{escape(dataset)} / {escape(split)}: {shape}, gallery of {group[0].summary.gallery} photos"
        console.print(title, style="bold", highlight=False, soft_wrap=True)
        if len({e.protocol for e in group}) == 1:
            _print_tables(console, "checkpoint", [(_name(e), e.summary) for e in group])
        else:  # a table for each checkpoint, so that it stays narrow
            for name in dict.fromkeys(_name(e) for e in group):
                console.print(f"checkpoint: {escape(name)}", highlight=False, soft_wrap=True)
                columns = [(e.protocol, e.summary) for e in group if _name(e) == name]
                _print_tables(console, "protocol", columns)
        reverse = [(_name(e), e.photo_to_sketch) for e in group if e.photo_to_sketch is not None]
        if reverse:
            asked = f"photo to sketch: {reverse[0][1].queries} photos, {reverse[0][1].gallery} sketches"
            console.print(asked, style="bold", highlight=False, soft_wrap=True)
            _print_tables(console, "checkpoint", reverse)
        for evaluation in group:
            if len(evaluation.summary.tags) > 1:
                protocol = "" if evaluation.protocol == "encoder" else f"{evaluation.protocol}, "
                console.print(_tag_table(f"by tag, {protocol}{escape(_name(evaluation))}", evaluation.summary))
        summaries = [e.summary for e in group] + [summary for _, summary in reverse]
        for note in dict.fromkeys(note for summary in summaries for note in summary.notes):
            console.print(f"note: {note}", style="dim", markup=False, highlight=False)
    console.print("[low, high]: 95 % intervals, sketches of one photo kept together", style="dim", markup=False)


def _by_split(evaluations: Sequence[Evaluation]) -> dict[tuple[str, str], list[Evaluation]]:
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault((evaluation.dataset, evaluation.split), []).append(evaluation)
    return groups


def _name(evaluation: Evaluation) -> str:
    step = "" if evaluation.step is None else f", step {evaluation.step:,}"
    return evaluation.selection + step


def _print_tables(console: Any, head: str, columns: Sequence[tuple[str, Summary]]) -> None:
    """Print tables of at most three columns, which fit on 80 characters: the figures are never cut."""
    for start in range(0, len(columns), COLUMNS):
        console.print(_accuracy_table(head, columns[start : start + COLUMNS]))


def _accuracy_table(head: str, columns: Sequence[tuple[str, Summary]]) -> Any:
    """One column per checkpoint or protocol."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(head, no_wrap=True)
    for name, _ in columns:
        table.add_column(escape(name), justify="right", min_width=len("99.9 [99.9, 100.0]"), max_width=24)
    summaries = [summary for _, summary in columns]
    for k in sorted({k for summary in summaries for k in summary.accuracy}):
        table.add_row(f"Acc@{k} %", *(_cell(summary.accuracy.get(k)) for summary in summaries))
    table.add_row("MRR %", *(_cell(summary.mrr) for summary in summaries))
    table.add_row("mean rank", *(f"{summary.mean_rank:.2f}" for summary in summaries))
    table.add_row("median rank", *(f"{summary.median_rank:g}" for summary in summaries))
    return table


def _tag_table(title: str, summary: Summary) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("tag")
    for name in ("sketches", *(f"Acc@{k} %" for k in summary.accuracy)):
        table.add_column(name, justify="right")
    for tag, part in summary.tags.items():
        table.add_row(escape(tag), str(part.queries), *(_cell(measure) for measure in part.accuracy.values()))
    return table


def _cell(measure: Measure | None) -> str:
    return "-" if measure is None else str(measure).replace("[", r"\[")
