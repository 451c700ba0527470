"""Helpers beside the tests can be imported by their names (the import mode is importlib, which adds no paths)."""

import sys
from pathlib import Path

import jaxtyping
import pytest

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def unchecked():
    """Where shapes are wrong on purpose, our own message is what is tested, not jaxtyping's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
