"""Memory: what is free on the host, and what to do when a device has too little."""

import contextlib
import os
from pathlib import Path


def out_of_memory(error: RuntimeError) -> str:
    """Give a sentence for a device that has too little memory; nothing for other errors."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        return ""
    return (
        f"the device has too little memory: {str(error).splitlines()[0]}\nIn training lower train.batch_size, or set "
        "train.micro_batch_size or model.remat; in evaluation lower eval.batch_size."
    )


def free_memory() -> int:
    """Bytes of RAM that can be taken without swapping; inside a container, of its share."""
    page = os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_PHYS_PAGES") * page // 2
    with contextlib.suppress(ValueError, OSError):  # not on macOS
        free = os.sysconf("SC_AVPHYS_PAGES") * page
    with contextlib.suppress(OSError, ValueError, StopIteration):  # counts what caches would give back
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):  # "max", which is no number, where there is no limit
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(limit - used, 0))
    return free
