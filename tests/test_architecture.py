"""The house as a test: which room may use which, read from the imports of the code itself.

A room is a folder of effnet_jax, or a file beside these. Imports inside functions and those for type checkers count.
"""

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From bottom to top: a room may use those before it. Those that stand together do not use one another.
ROOMS = [
    ("config",),
    ("runtime", "storage"),
    ("presentation",),
    ("models", "images"),
    ("config_rules", "blockwise"),
    ("config_reader", "losses"),
    ("data",),
    ("tfds_builders", "retrieval"),
    ("weights",),
    ("encoders",),
    ("runs",),
    ("training",),
    ("experiment",),
    ("stages",),
    ("catalogue", "doctor", "figures", "comparison"),
    ("reporting",),
    ("run",),
    ("effnet_jax",),  # the public names
    ("cli",),
    ("main",),
]
LEVELS = {room: level for level, together in enumerate(ROOMS) for room in together}
LARGEST_SHARE = 0.15
FOLDER = "effnet_jax.runs.folder"
HUB_FILES = ("config.json",)  # of models on a hub, which weights/ reads
ALSO_WORDS = {"encoders", "figures"}  # folders of a run that are called as keys and commands are


@cache
def sources() -> dict[str, Path]:
    """Every module of the house by its name."""
    folders = [path for name in ("effnet_jax", "tfds_builders") for path in (ROOT / name).rglob("*.py")]
    dotted = {path: ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in [*folders, ROOT / "main.py"]}
    return {name.removesuffix(".__init__"): path for path, name in dotted.items()}


LIBRARY = sorted(module for module in sources() if module.startswith("effnet_jax"))


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(sources()[module].read_text(encoding="utf-8"))


def room_of(module: str) -> str:
    first, *rest = module.split(".")
    return rest[0] if first == "effnet_jax" and rest else first


def strings_of(module: str) -> Iterator[str]:
    """Text in the code, pieces of f-strings among it; docstrings aside."""
    said = {id(node.value) for node in ast.walk(tree(module)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules of the house that a module imports, by statement or by their name in a string."""
    names = {text for text in strings_of(module) if "." in text}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively; give the whole name"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in sources() else str(node.module) for name in inside}
    return frozenset(name for name in names if name in sources() and name != module)


def test_every_room_has_its_place():
    assert {room_of(module) for module in sources()} == LEVELS.keys()


@pytest.mark.parametrize("room", LEVELS)
def test_a_room_uses_only_rooms_below_it(room):
    used = {(module, other) for module in sources() if room_of(module) == room for other in imports_of(module)}
    up = {pair for pair in used if room_of(pair[1]) != room and LEVELS[room_of(pair[1])] >= LEVELS[room]}
    assert {f"{module} uses {other}" for module, other in up} == set()


def test_no_files_import_each_other_in_a_circle():
    try:
        TopologicalSorter({module: imports_of(module) for module in sources()}).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_room_holds_more_than_its_share_of_the_lines():
    lines: Counter[str] = Counter()
    for module in LIBRARY:
        lines[room_of(module)] += len(sources()[module].read_text(encoding="utf-8").splitlines())
    assert {room: n for room, n in lines.items() if n > LARGEST_SHARE * lines.total()} == {}


def test_every_file_has_a_name_of_its_own():
    named = defaultdict(list)
    for module in LIBRARY:
        if sources()[module].name != "__init__.py":
            named[sources()[module].name].append(module)
    shared = {" and ".join(sorted(modules)) for modules in named.values() if len(modules) > 1}
    assert shared == set()


def test_nothing_in_the_library_names_the_builders():
    naming = {m for m in LIBRARY if any("tfds_builders" in text for text in [*imports_of(m), *strings_of(m)])}
    assert {f"{module} names tfds_builders" for module in naming} == set()


def run_files() -> list[str]:
    """What runs/folder.py puts behind the folder of a run."""
    behind = [n.right for n in ast.walk(tree(FOLDER)) if isinstance(n, ast.BinOp) and isinstance(n.op, ast.Div)]
    return sorted({n.value for n in behind if isinstance(n, ast.Constant)} - ALSO_WORDS)


def test_a_run_has_the_files_that_it_is_known_by():
    known = {"metrics.json", "ranks.csv", "embeddings.npz", "retrieval.png", "report.html", ".training"}
    assert known <= {*run_files()}


@pytest.mark.parametrize("file", run_files())
def test_only_runs_knows_the_names_of_the_files_of_a_run(file):
    allowed = {"runs", "weights"} if file in HUB_FILES else {"runs"}
    elsewhere = [module for module in LIBRARY if room_of(module) not in allowed]
    naming = {m for m in elsewhere if any(text == file or text.endswith(f"/{file}") for text in strings_of(m))}
    assert {f"{module} names {file}" for module in naming} == set()
