"""The one error of this package, and how the names that a file gives are shown in it."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

MAX_LINES = 50  # of one kind, in one message
MAX_NAME = 120  # characters of a name
MAX_AXES = 32
MAX_EMPTY = 2**40  # a tensor without numbers may claim this for its other axes; NumPy multiplies them


class WeightsError(ValueError):
    """Weights that cannot be had, read or fitted; the message names the file and every tensor."""


@contextmanager
def refusing(where: object) -> Iterator[None]:
    """Turn what nobody foresaw in a file into a WeightsError that names the file."""
    try:
        yield
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(
            f"{where} is damaged, or unlike any file of weights ({type(error).__name__}: {shown(error)})."
        ) from error


def shown(value: object) -> str:
    """Write a text that a file gives so that it can do nothing to a terminal, and not fill it."""
    text = str(value)
    cut = ascii(text[: MAX_NAME + 1])[1:-1]
    return cut if len(cut) <= MAX_NAME else f"{cut[:MAX_NAME]}..."


def some(values: Iterable[object], most: int = 10) -> str:
    """Write names one after another, at most so many."""
    values = list(values)
    more = f", and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(shown, values[:most])) + more


def listing(problems: Sequence[str]) -> str:
    """Write problems as lines, at most `MAX_LINES` of each kind; the kind is what stands before the first colon."""
    kinds: dict[str, list[str]] = {}
    for line in problems:
        kinds.setdefault(line.partition(":")[0], []).append(line)
    lines = []
    for kind, own in kinds.items():
        lines += own[:MAX_LINES] + ([f"{kind}: and {len(own) - MAX_LINES} more"] if len(own) > MAX_LINES else [])
    return "\n".join(f"  {line}" for line in lines)


def possible(shape: Sequence[int]) -> bool:
    """Tell whether an array of such a shape could be made, were it only for its claims."""
    return len(shape) <= MAX_AXES and math.prod(n for n in shape if n) < MAX_EMPTY
