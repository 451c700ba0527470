import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_killed_runs_end_bit_equal():
    """Four of the twenty that kill_and_resume.py does by default."""
    program = [sys.executable, str(Path(__file__).with_name("kill_and_resume.py")), "--kills=4", "--seed=1"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert json.loads(done.stdout.splitlines()[-1])["right"] == 4
