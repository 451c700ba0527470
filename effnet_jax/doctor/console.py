"""The report on the terminal."""

from typing import Any

from effnet_jax.doctor.findings import FAULT, KINDS, Finding, Report
from effnet_jax.doctor.repair import Fate

LISTED_NOTES = 8
"""Notes of one kind that are listed where not all are asked for. Faults are always listed."""


def print_report(report: Report, console: Any = None, *, every_note: bool = False) -> None:
    """Print counts, then each kind of finding with its files and what to do about it.

    Args:
        report: of an examination.
        console: a rich Console; None prints to standard output.
        every_note: list all notes, too, however many of one kind there are.
    """
    from rich.console import Console

    console = console or Console()

    def say(text: str, style: str | None = None) -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    say(report.root + (f" as {report.dataset}" if report.dataset else ""), "bold")
    for split, (sketches, photos) in report.counts.items():
        say(f"  {split}: {sketches} sketches, {photos} photos")
    for kind, findings in report.by_kind().items():
        fault = KINDS[kind].severity == FAULT
        say("")
        say(f"{KINDS[kind].severity}: {KINDS[kind].meaning} ({len(findings)})", "bold red" if fault else "bold yellow")
        say(f"  {KINDS[kind].advice}", "dim")
        shown = findings if fault or every_note else findings[:LISTED_NOTES]
        for finding in shown:
            say(f"    {describe(finding)}")
        if len(shown) < len(findings):
            say(f"    ... and {len(findings) - len(shown)} more; --all lists them", "dim")
    say("")
    say(summary(report), "bold red" if report.faults else "bold green")


def summary(report: Report) -> str:
    """One line: how much was looked at, and how much was found."""
    faults, notes = len(report.faults), len(report.notes)
    return f"{report.files} files: {_count(faults, 'fault')}, {_count(notes, 'note')}"


def describe(finding: Finding) -> str:
    """One finding in one line, without its kind."""
    return ": ".join(filter(None, [" = ".join(finding.files), finding.detail]))


def describe_copy(fates: list[Fate]) -> str:
    """One line on a cleaned copy."""
    kept = [fate for fate in fates if not fate.left_out]
    renamed = sum(fate.target != fate.file.name for fate in kept)
    stored = sum(fate.convert for fate in kept)
    left_out = len(fates) - len(kept)
    return (
        f"{_count(len(kept), 'file')} copied ({renamed} under another name, {stored} stored anew), {left_out} left out"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
