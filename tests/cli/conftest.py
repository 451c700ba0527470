"""Fixtures of the commands; helpers of the library's own tests can be imported by their names."""

import sys
from pathlib import Path

import pytest
from tiny import tiny_config, write_pairs

from effnet_jax.cli import program
from effnet_jax.run import train

for folder in ("data", "data/doctor", "analysis"):
    sys.path.append(str(Path(__file__).parents[1] / folder))


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run that was trained for two epochs; its data lie beside it."""
    home = tmp_path_factory.mktemp("trained")
    data = write_pairs(home / "data", range(44), range(44, 56))
    train(tiny_config(data, home), home / "run")
    return home / "run"


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
