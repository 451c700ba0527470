"""The flags of main.py that make a process one of several, and how such a process ends."""

import sys
from types import TracebackType
from typing import NoReturn

from absl import flags

_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes; TPU pod, SLURM or Open MPI say which."
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "host:port of process 0, where nothing else says it.")
_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many processes there are.")
_PROCESS = flags.DEFINE_integer("process_id", None, "With --coordinator: which one this is, from 0.")


def join() -> None:
    """Join the other processes, where the flags ask for it.

    Raises:
        ValueError: flags that do not make a whole, or an environment that says nothing.
    """
    from effnet_jax.runtime import hosts

    hosts.join(_DISTRIBUTED.value, _COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    sys.excepthook = _after_an_error
    sys.unraisablehook = _in_a_thread


def is_first() -> bool:
    """Tell whether this is the process that prints."""
    from effnet_jax.runtime import hosts

    return hosts.is_first()


def signed(error: Exception) -> str:
    """Give the words of an error; with several processes, every one says its own, with its number."""
    import jax

    return f"[host {jax.process_index()}] {error}" if jax.distributed.is_initialized() else str(error)


def leave(status: int) -> NoReturn:
    """End this process with a status after an error, without waiting long for the others."""
    from effnet_jax.runtime import hosts

    hosts.leave(status)


def _after_an_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    leave(130 if issubclass(kind, KeyboardInterrupt) else 1)


def _in_a_thread(unraisable: "sys.UnraisableHookArgs") -> None:
    """Threads of a save that failed call back into a loop that is gone, many times over; the failure itself is told."""
    if "Event loop is closed" not in str(unraisable.exc_value):
        sys.__unraisablehook__(unraisable)
