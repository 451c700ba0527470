"""Long lists in one line of text."""

from collections.abc import Sequence


def listed(names: Sequence[str], most: int = 10) -> str:
    """Name the first ones, and say how many more there are.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        'a, b and 1 more'
        >>> listed(["a", "b"], most=2)
        'a, b'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
