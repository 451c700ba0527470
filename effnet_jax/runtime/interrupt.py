"""A polite stop: SIGTERM and Ctrl-C let the current step finish and be saved, on all hosts at the same step."""

import signal
from collections import deque
from collections.abc import Collection, Mapping
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

STOP = "stop"  # in a batch: asked to stop, one whole number per device; among the scalars of a step: how many ask
STEPS_BEHIND = 2  # the answer of so many steps ago is read: by then it is there, and the device never waits for it


class Interrupt:
    """While active, the first SIGTERM or Ctrl-C only sets `requested`; a second Ctrl-C stops at once.

    A second SIGTERM does not, unless asked for: some clusters send two, and a run is to be saved.

    Preemption on a cluster sends SIGTERM, so the same path serves both. Outside the main thread, where Python takes
    no signal handlers, nothing is installed.

    Args:
        insist: signals that stop at once when they come second.
    """

    def __init__(self, insist: Collection[int] = (signal.SIGINT,)) -> None:
        self.requested = False
        self._insist = insist
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        """Install the handlers."""
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._previous[number] = signal.signal(number, self._handle)
            except ValueError:  # not the main thread
                return self
        return self

    def __exit__(self, *exception: object) -> None:
        """Restore the handlers that were there before."""
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not installed by Python

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number in self._insist:
            raise KeyboardInterrupt
        self.requested = True


class StopVote:
    """Lets all hosts stop at the same step, whichever of them was asked to.

    Every host says in each batch whether it was asked; the compiled step adds that up over all devices, and every host
    reads the same sum a few steps later. That needs no message of its own and no wait for the device. One host alone
    stops at once.

    Reading also keeps the host from running far ahead of the devices, whose memory every waiting batch takes; fake CPU
    devices even deadlock when dozens of steps wait (jax 0.10 and 0.11). So one host reads the sums too, but on a single
    CPU, where nothing runs ahead.

    Args:
        interrupt: of this host.
        mesh: devices.
    """

    def __init__(self, interrupt: Interrupt, mesh: Mesh):
        self._interrupt = interrupt
        self._alone = jax.process_count() == 1
        self._reads = not self._alone or mesh.size > 1 or jax.default_backend() != "cpu"
        self._own_devices = len(mesh.local_devices)
        self._waiting: deque[jax.Array] = deque()

    def ballot(self) -> dict[str, np.ndarray]:
        """Give what a batch says besides: whether this host was asked to stop; empty where nobody reads it."""
        if not self._reads:
            return {}
        return {STOP: np.full(self._own_devices, self._interrupt.requested, np.int32)}

    def decided(self, scalars: Mapping[str, jax.Array]) -> tuple[bool, dict[str, jax.Array]]:
        """Tell whether to stop after this step, the same on every host, and give the scalars without the vote."""
        rest = dict(scalars)
        votes = 0
        if self._reads:
            self._waiting.append(rest.pop(STOP))
            self._waiting[-1].copy_to_host_async()
            if len(self._waiting) > STEPS_BEHIND:
                votes = int(self._waiting.popleft())
        return self._interrupt.requested if self._alone else votes > 0, rest
