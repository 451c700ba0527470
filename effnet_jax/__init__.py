"""effnet_jax: fine-grained sketch-based image retrieval with EffNet, in JAX.

The public names stand in `__init__.pyi`, each with its module, which is imported when the name is first used. So
`import effnet_jax` stays quick and lean, and modules, losses and ranking need none of grain, TFDS and orbax.

Source: EffNet, arXiv 2406.11551.
"""

import ast
import importlib
from pathlib import Path
from typing import Any

_HOMES = {
    name.name: str(node.module)
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for name in node.names
}

__all__ = sorted(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"effnet_jax has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
