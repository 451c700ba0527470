"""A comparison as text for the terminal and as Markdown."""

from typing import Any

from effnet_jax.comparison.comparison import Comparison, Row
from effnet_jax.retrieval.difference import Difference

DIFFERENCE_HEAD = ("", "measure", "difference", "p sign-flip", "p Holm", "p McNemar")


def title(comparison: Comparison) -> str:
    """What was asked, in one line."""
    asked = comparison.asked
    photos = len(set(asked.photo_ids))
    return (
        f"{asked.dataset} / {asked.split}: {len(asked.sketch_ids)} sketches of {photos} photos, "
        f"gallery of {asked.gallery} photos"
    )


def explanation(comparison: Comparison) -> str:
    """What the columns mean, of those that are there."""
    parts = [
        "[low, high]: 95 % intervals, sketches of one photo kept together. Differences in percentage points: "
        "paired bootstrap and sign-flip permutation over photos"
    ]
    if len(comparison.rows) > 2:
        parts.append(f"p Holm is adjusted for {len(comparison.rows) * (len(comparison.rows) - 1) // 2} pairs")
    if _has_mcnemar(comparison):
        parts.append("McNemar's exact test: each photo has one sketch here")
    return "; ".join(parts) + "."


def print_comparison(comparison: Comparison, console: Any = None) -> None:
    """Print both tables, the notes and what the columns mean.

    Args:
        comparison: of runs.
        console: a rich Console; None prints to standard output.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = console or Console()
    console.print(title(comparison), style="bold", markup=False, highlight=False, soft_wrap=True)
    for head, lines in _tables(comparison):
        table = Table(box=box.SIMPLE_HEAD)
        for index, name in enumerate(head):
            table.add_column(escape(name), justify="right" if index else "left", overflow="fold", min_width=7)
        previous = ""
        for line in lines:
            repeated = line[0] == previous
            previous = line[0]
            table.add_row(*map(escape, ["" if repeated else line[0], *line[1:]]))
        console.print(table)
    for note in (*comparison.notes, explanation(comparison)):
        console.print(note, style="dim", markup=False, highlight=False)


def markdown(comparison: Comparison) -> str:
    """The same as Markdown, ready for a page."""
    parts = [f"**{title(comparison)}**"]
    for head, lines in _tables(comparison):
        rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
        parts.append("\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows))
    parts += [*comparison.notes, explanation(comparison)]
    return "\n\n".join(parts) + "\n"


def _tables(comparison: Comparison) -> tuple[tuple[list[str], list[list[str]]], ...]:
    """Head and lines of the table of rows (one column each, so that no figure is cut) and of that of differences."""
    return _measure_table(comparison), _difference_table(comparison)


def _measure_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    rows = comparison.rows
    lines = [
        ["checkpoint", *(row.selection for row in rows)],
        ["seeds", *(_seeds(row) for row in rows)],
    ]
    for measure in comparison.measures:
        lines.append([_shown(measure), *(str(row.measure(measure)) for row in rows)])
        if any(len(row.runs) > 1 for row in rows):
            lines.append(["± over seeds", *(_spread(row, measure) for row in rows)])
    return ["", *(row.name for row in rows)], lines


def _spread(row: Row, measure: str) -> str:
    seeds = row.by_seed(measure)
    return f"±{100 * seeds.std(ddof=1):.1f}" if len(seeds) > 1 else "-"


def _seeds(row: Row) -> str:
    known = ", ".join(str(run.seed) for run in row.runs if run.seed is not None)
    return known or "not known"


def _shown(measure: str) -> str:
    return f"{measure.replace('acc', 'Acc')} %" if measure != "mrr" else "MRR %"


def _difference_table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    wanted = [True, True, True, True, len(comparison.rows) > 2, _has_mcnemar(comparison)]
    lines = []
    for (i, j, measure), difference in comparison.differences.items():
        names = comparison.rows[i].name, comparison.rows[j].name
        line = [
            f"{names[0]} - {names[1]}",
            _shown(measure),
            _points(difference),
            _p(difference.p_value),
            _p(comparison.adjusted[i, j, measure]),
            "-" if difference.p_mcnemar is None else _p(difference.p_mcnemar),
        ]
        lines.append([cell for cell, keep in zip(line, wanted, strict=True) if keep])
    return [name for name, keep in zip(DIFFERENCE_HEAD, wanted, strict=True) if keep], lines


def _has_mcnemar(comparison: Comparison) -> bool:
    return any(difference.p_mcnemar is not None for difference in comparison.differences.values())


def _points(difference: Difference) -> str:
    if difference.photos == 0:
        return "0 (the same answers)"
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
