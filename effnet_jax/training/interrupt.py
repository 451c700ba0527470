"""A polite stop: SIGTERM and Ctrl-C let the current step finish and be saved."""

import signal
from types import FrameType


class Interrupt:
    """While active, the first SIGTERM or Ctrl-C only sets `requested`; a second Ctrl-C stops at once.

    Preemption on a cluster sends SIGTERM, so the same path serves both. Outside the main thread, where Python takes
    no signal handlers, nothing is installed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

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
            signal.signal(number, handler)  # pyrefly: ignore

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
