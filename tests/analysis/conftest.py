"""Helpers beside the tests can be imported by their names (the import mode is importlib, which adds no paths)."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
