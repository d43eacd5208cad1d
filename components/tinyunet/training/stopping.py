"""A training that is asked to stop finishes its step, keeps a checkpoint and says how to go on."""

import signal
from types import FrameType, TracebackType
from typing import Self

# mpirun passes it on and lets the ranks end by themselves; SIGTERM and SIGINT it answers by killing them.
STOP_RANKS = signal.SIGUSR2
SIGNALS = (signal.SIGINT, signal.SIGTERM, STOP_RANKS)


class Stopped(Exception):  # noqa: N818  not an error: the user asked for it
    """Training ended early on a signal, with its state saved."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(f"stopped after step {step}; the same command resumes")
        self.exit_code = 128 + number


class StopRequest:
    """Turns the first SIGINT, SIGTERM or SIGUSR2 into a flag; a second one interrupts at once."""

    def __init__(self) -> None:
        self.number = 0

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
        if self.number:
            raise KeyboardInterrupt
        self.number = number
