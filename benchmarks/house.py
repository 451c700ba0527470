"""How large the rooms of the house are, and what has changed: files, lines, and lines that hold code.

    python benchmarks/house.py [--rev REV [REV]]

A room is a folder of effnet_jax, or a file beside these. Lines of code are those that hold more than docstrings,
comments and blanks, after every file went through the same formatter (ruff, where it is installed), so that revisions
compare. `--rev` takes a revision of git in place of this checkout, or two, whose difference is shown; `.` is this
checkout. No room should hold more than 15 % of effnet_jax's lines (tests/test_architecture.py).
"""

import argparse
import ast
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
PLACES = ("effnet_jax", "tfds_builders", "configs", "main.py")
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
Counts = dict[str, np.ndarray]  # room -> files, lines, lines of code


def code_lines(text: str) -> int:
    """Count the lines that hold code: strings that stand alone, comments and blanks do not."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NO_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    return sum(bool(line.strip()) for number, line in enumerate(text.split("\n"), 1) if number in code - docs)


def count(folder: Path) -> Counts:
    """Count a tree that may be written to: it is formatted first."""
    if find_spec("ruff") is not None:
        how = ["format", "--isolated", "--no-cache", "--quiet", "--line-length=120", "--target-version=py311"]
        subprocess.run([sys.executable, "-m", "ruff", *how, str(folder)], check=True)
    counts: Counts = defaultdict(lambda: np.zeros(3, int))
    for path in sorted(folder.rglob("*.py")):
        text, place = path.read_text(encoding="utf-8"), path.relative_to(folder).parts
        room = "/".join(place[:2]) if place[0] == "effnet_jax" else place[0]
        counts[room] += (1, len(text.splitlines()), code_lines(text))
    return dict(counts)


def counts_of(revision: str) -> Counts:
    """Count a revision, or this checkout where it is "."."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if revision == ".":
            for place in PLACES[:-1]:
                shutil.copytree(ROOT / place, folder / place)
            shutil.copy(ROOT / PLACES[-1], folder)
        else:
            packed = subprocess.check_output(["git", "-C", str(ROOT), "archive", revision, "--", *PLACES])
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(folder, filter="data")
        return count(folder)


def show(before: Counts | None, after: Counts) -> None:
    """Print the rooms, the largest first; with a tree to compare with, what has become of each."""
    nothing = np.zeros(3, int)
    rows = {room: after.get(room, nothing) for room in {**(before or {}), **after}}
    rows = dict(sorted(rows.items(), key=lambda row: -row[1][1]))
    inner = [room for room in rows if room.startswith("effnet_jax/")]
    groups = {"effnet_jax": inner, "effnet_jax, tfds_builders, configs, main.py": list(rows)}
    library = sum(after[room][1] for room in inner if room in after)
    change = f"{'change in files':>18}{'lines':>8}{'code':>8}" if before is not None else ""
    print(f"{'':46}{'files':>7}{'lines':>8}{'code':>8}{'share':>8}{change}")
    for name, rooms in {**{room: [room] for room in rows}, **groups}.items():
        files, lines, code = sum((rows[room] for room in rooms), nothing)
        share = f"{100 * lines / library:6.1f} %" if name.startswith("effnet_jax/") else ""
        line = f"{name:46}{files:7,}{lines:8,}{code:8,}{share:>8}"
        if before is not None:
            old = sum((before.get(room, nothing) for room in rooms), nothing)
            line += "{:+18,}{:+8,}{:+8,}".format(*((files, lines, code) - old))
        print(line.rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rev", nargs="+", default=["."], help="one revision, or two to compare; . is this checkout")
    given = parser.parse_args()
    if len(given.rev) > 2:
        parser.error(f"one or two revisions, not {len(given.rev)}")
    *before, after = map(counts_of, given.rev)
    names = ["this checkout" if revision == "." else revision for revision in given.rev]
    print(" -> ".join(names) + (", formatted by ruff" if find_spec("ruff") else ", not formatted: no ruff"))
    show(before[0] if before else None, after)


if __name__ == "__main__":
    main()
