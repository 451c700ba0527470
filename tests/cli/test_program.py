"""What holds for all commands of the program."""

import re
import subprocess
import sys

import jax
import pytest

from effnet_jax.cli.program import home_expanded
from effnet_jax.runs.choice import RULES


@pytest.mark.parametrize(("said", "words"), [("", "interrupted\n"), ("stopped: 3 were kept", "stopped: 3 were kept\n")])
def test_an_interrupt_is_said(command, monkeypatch, said, words):
    def interrupted(*_, **__):
        raise KeyboardInterrupt(*([said] if said else []))

    monkeypatch.setattr("effnet_jax.comparison.comparison.compare_runs", interrupted)
    assert command("compare", "a", "b") == (130, "", words)


def test_the_module_is_the_program():
    done = subprocess.run([sys.executable, "-m", "effnet_jax.cli.program", "compare"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "RUN RUN" in done.stderr


def test_a_device_without_memory_is_said(command, monkeypatch):
    def fails(*_, **__):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nmore")

    monkeypatch.setattr("effnet_jax.comparison.comparison.compare_runs", fails)
    status, _, words = command("compare", "a", "b")
    assert status == 1
    assert words.startswith(
        "the device has too little memory: RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.\nIn"
    )


def test_home_is_expanded_where_no_shell_does_it(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    given = ["--out=~/figures", "NAME=~/run", "a~b", "--name=x", "~other/x"]
    assert [home_expanded(one) for one in given] == ["--out=/home/me/figures", "NAME=/home/me/run", *given[2:]]


@pytest.mark.parametrize("name", ["compare", "embed", "export"])
def test_the_help_names_every_rule_that_chooses_a_checkpoint(command, name):
    status, said, _ = command(name, "--help")
    assert status == 0
    assert {rule for rule in RULES if not re.search(rf"\b{rule}\b", said)} == set()
