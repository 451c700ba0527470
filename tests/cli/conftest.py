"""Fixtures of the commands."""

import sys

import pytest

from effnet_jax.cli import program


@pytest.fixture
def command(monkeypatch, capsys):
    """Run the program as a shell would: exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["effnet-jax", *map(str, arguments)])
        try:
            program.main()
            status = 0
        except SystemExit as stopped:
            status = stopped.code or 0
        return status, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    """Wide and without colours, wherever the tests run."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
