"""How commands end: files that are not replaced unasked, a result as JSON or in words, and what could not be done."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from effnet_jax.storage.files import json_text

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files of the same names; else they are kept.")]


def check_outputs(paths: Iterable[Path], *, overwrite: bool) -> None:
    """Refuse to replace files.

    Raises:
        ValueError: all that exist.
    """
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise ValueError(
            f"{', '.join(there)} exist{'s' if len(there) == 1 else ''} already; name another place, or replace what is "
            "there with --overwrite."
        )


def print_result(result: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print what a command did: plain values as JSON, or lines for people."""
    for line in [json_text(result)] if as_json else lines:
        print(line)


def fail_with(problems: Sequence[str]) -> None:
    """Say on standard error what could not be done, if anything; then the exit status is 1."""
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise typer.Exit(1)
