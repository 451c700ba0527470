"""Programs that get ready side by side and are timed one after the other; gpu_plan.py hands out the turns.

A program started by hand has every turn at once.
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

READY = "ready for its turn"


@contextmanager
def compiling() -> Iterator[None]:
    """Compile for the device alone: compilers time kernels, and what others run then would disturb the choice."""
    path = os.environ.get("BENCHMARK_LOCK")
    if not path:
        yield
        return
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def wait_for_turn() -> None:
    """Say that all is compiled, and wait until nothing else runs."""
    if os.environ.get("BENCHMARK_LOCK"):
        print(READY, flush=True)
        sys.stdin.readline()
