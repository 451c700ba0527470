"""Files that a command writes: none is replaced unless that is asked for."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

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
