"""A training that is asked to stop finishes its step, keeps a checkpoint and says how to go on."""

import signal
import time
from types import FrameType, TracebackType
from typing import Self

# mpirun passes it on and lets the ranks end by themselves; SIGTERM and SIGINT it answers by killing them.
STOP_RANKS = signal.SIGUSR2
SIGNALS = (signal.SIGINT, signal.SIGTERM, STOP_RANKS)
ECHO_S = 5.0  # seconds in which one request to stop may come twice: to the whole group, and from the parent


class Stopped(Exception):  # noqa: N818  not an error: the user asked for it
    """Training ended early on a signal, with its state saved."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(f"stopped after step {step}; the same command resumes")
        self.exit_code = 128 + number


def is_echo(first: float) -> bool:
    """Say whether a signal only repeats the one that came at this time (`time.monotonic`)."""
    return time.monotonic() - first < ECHO_S


class StopRequest:
    """Turns the first SIGINT, SIGTERM or SIGUSR2 into a flag; a second one, no echo, interrupts at once."""

    def __init__(self) -> None:
        self.number = 0
        self._first = 0.0

    def __enter__(self) -> Self:
        """Install the handlers."""
        self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.number:
            self.number, self._first = number, time.monotonic()
        elif not is_echo(self._first):
            raise KeyboardInterrupt
