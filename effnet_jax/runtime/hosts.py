"""Several processes as one run: how they join, and what they tell each other outside of compiled code.

A process is called a host, as there is usually one on each. What is said here travels through the coordinator, not over
the devices' network, so that waiting for a slow host has no time limit but the coordinator's: it ends all processes
about 100 s after one of them died. Every host must make the same calls in the same order. With one process, all of this
does nothing.
"""

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import jax

Result = TypeVar("Result")
LEAVE_SECONDS = 15.0  # for the others to say their error
LINGER_SECONDS = 1.0  # for which the coordinator outlives them: JAX aborts those that lose it
POLL_SECONDS = 0.05  # between questions to the coordinator; Python handles signals in between
_calls = itertools.count()


class HostError(ValueError):
    """Something went wrong on another host; the message says where and what."""


def join(
    distributed: bool = False, coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Become one process of several, where the flags ask for it; to be called before anything else of JAX.

    Args:
        distributed: find the others by the environment: TPU pod, SLURM, Open MPI, Kubernetes.
        coordinator: `host:port` of process 0, where the environment does not tell; needs the next two.
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        ValueError: flags that do not make a whole, or an environment that says nothing.
    """
    by_hand = {"--coordinator": coordinator, "--num_processes": processes, "--process_id": process}
    missing = [name for name, value in by_hand.items() if value is None]
    if len(missing) == len(by_hand) and not distributed:
        return
    if missing and not distributed:
        raise ValueError(
            f"{', '.join(n for n in by_hand if n not in missing)} needs {' and '.join(missing)} too, or --distributed "
            "where the environment (TPU pod, SLURM, Open MPI) knows them."
        )
    if processes is not None and process is not None and not 0 <= process < processes:
        raise ValueError(f"--process_id={process} must lie in 0..{processes - 1}, as --num_processes={processes}.")
    if coordinator is not None and not coordinator.rpartition(":")[2].isdigit():
        raise ValueError(f"--coordinator={coordinator} must be host:port, such as 10.0.0.1:1234.")
    # JAX's own service takes SIGTERM, and knows nothing of Ctrl-C; runtime/interrupt.py serves both
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator, processes, process, cluster_detection_method=None if distributed else "deactivate"
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"--distributed cannot tell from the environment which processes belong together ({error}). Give "
            "--coordinator host:port --num_processes N --process_id I; docs/pods.md has examples."
        ) from error


def is_first() -> bool:
    """Tell whether this is the process that writes files and prints."""
    return jax.process_index() == 0


def everywhere(what: str, function: Callable[[], Result]) -> Result:
    """Call a function on every host; where it fails on one, it fails on all.

    Args:
        what: names it in errors, such as "reading the data".
        function: raises an Exception where it fails.

    Raises:
        HostError: it failed on another host.
    """
    return _together(what, function, first_alone=False)


def first_then_rest(what: str, function: Callable[[], Result]) -> Result:
    """Call a function on the first host while the others wait, then on the others, which find what was built.

    Arguments and errors as in `everywhere`. On storage that is not shared each host builds its own.
    """
    return _together(what, function, first_alone=True)


def only_first(what: str, function: Callable[[], object]) -> None:
    """Call a function on the first host alone, such as writing a file; the others wait. Errors as in `everywhere`."""
    everywhere(what, function if is_first() else lambda: None)


def say_to_all(what: str, function: Callable[[], str]) -> str:
    """Call a function on the first host alone, and give its text to every host. Errors as in `everywhere`."""
    return tell_others(everywhere(what, function if is_first() else lambda: ""))[0]


def check_same(what: str, value: str) -> None:
    """Refuse to go on where hosts differ.

    Args:
        what: is compared, such as "the configuration".
        value: of this host.

    Raises:
        HostError: values differ; says which hosts.
    """
    values = tell_others(value)
    different = [str(i) for i, other in enumerate(values) if other != values[0]]
    if different:
        raise HostError(f"{what} differs between host 0 and host {', '.join(different)}; it must be the same on all.")


def all_hosts(flag: bool) -> bool:
    """Tell whether it is true on every host, such as: there is enough memory."""
    return "" not in tell_others("yes" if flag else "")


def tell_others(value: str) -> list[str]:
    """Give a text to all hosts, and get theirs, in the order of the hosts."""
    if jax.process_count() == 1:
        return [value]
    client, call = _client(), next(_calls)
    client.key_value_set(f"effnet_jax/{call}/{jax.process_index()}", f"={value}")  # an empty value would be none
    return [_wait_for(client, f"effnet_jax/{call}/{host}") for host in range(jax.process_count())]


def leave(status: int) -> NoReturn:
    """End this process with a status after an error; what is to be said must have been said.

    The usual end waits for minutes for all the others, which may be waiting for this one; here they have a few seconds
    to say the same error.
    """
    if not jax.distributed.is_initialized():
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(Exception):
        _client().wait_at_barrier("effnet_jax/leaving", timeout_in_ms=int(LEAVE_SECONDS * 1000))
        time.sleep(LINGER_SECONDS if is_first() else 0)
    os._exit(status)


def _together(what: str, function: Callable[[], Result], *, first_alone: bool) -> Result:
    if jax.process_count() == 1:
        return function()
    result: Any = None
    for turn in ("first", "rest") if first_alone else ("all",):
        failure: Exception | None = None
        if turn == "all" or (turn == "first") == is_first():
            try:
                result = function()
            except Exception as error:
                failure = error
        told = tell_others("" if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        if any(told):
            failed = "; ".join(f"host {host}: {text}" for host, text in enumerate(told) if text)
            raise HostError(f"{what} failed on {failed}")
    return result


def _client() -> Any:
    from jax._src import distributed  # JAX offers its key-value store nowhere else; orbax takes the same way

    if distributed.global_state.client is None:
        raise HostError(
            f"JAX sees {jax.process_count()} processes that cannot talk to each other; start each with --distributed."
        )
    return distributed.global_state.client


def _wait_for(client: Any, key: str) -> str:
    while True:
        try:
            return client.key_value_try_get(key)[1:]
        except jax.errors.JaxRuntimeError as error:
            if "NOT_FOUND" not in str(error):
                raise
        time.sleep(POLL_SECONDS)
