"""What holds for all commands of the program."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("said", "words"), [("", "interrupted\n"), ("stopped: 3 were kept", "stopped: 3 were kept\n")])
def test_an_interrupt_is_said(command, monkeypatch, said, words):
    def interrupted(*_, **__):
        raise KeyboardInterrupt(*([said] if said else []))

    monkeypatch.setattr("effnet_jax.analysis.compare.compare_runs", interrupted)
    assert command("compare", "a", "b") == (130, "", words)


def test_the_module_is_the_program():
    done = subprocess.run([sys.executable, "-m", "effnet_jax.cli.program", "compare"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "RUN RUN" in done.stderr
