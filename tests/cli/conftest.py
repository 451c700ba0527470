"""Helpers of the tests of the library that commands stand on can be imported by their names."""

import sys
from pathlib import Path

import pytest

for folder in ("data", "data/doctor", "analysis"):
    sys.path.append(str(Path(__file__).parents[1] / folder))


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    """Wide and without colours, wherever the tests run."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
