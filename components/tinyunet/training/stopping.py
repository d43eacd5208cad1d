"""Handling of the signals that stop a training.

The training finishes its step and saves a checkpoint. The same command resumes it.
"""

import signal
import time
from types import FrameType, TracebackType
from typing import Self

# mpirun forwards SIGUSR2 to the ranks and waits for them. On SIGTERM and SIGINT it kills them.
STOP_SIGNAL = signal.SIGUSR2
SIGNALS = (signal.SIGINT, signal.SIGTERM, STOP_SIGNAL)
# One request to stop may arrive as two signals within this time, because the terminal sends a signal to the
# whole process group, and the parent process forwards it.
DUPLICATE_S = 5.0


class Stopped(Exception):  # noqa: N818  not an error: the user asked for it
    """The training ended early because of a signal; its state is saved.

    Attributes:
        exit_code: 128 + the number of the signal, as in a shell.
    """

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped after step {step}; the same command resumes")
        self.exit_code = 128 + signal_number


def is_duplicate(first: float) -> bool:
    """Return whether a signal that arrives now belongs to the request of an earlier signal.

    Args:
        first: Time of the earlier signal (`time.monotonic`), in seconds.
    """
    return time.monotonic() - first < DUPLICATE_S


class StopRequest:
    """Records the first SIGINT, SIGTERM or SIGUSR2, and raises KeyboardInterrupt for a second request.

    Attributes:
        signal_number: Number of the first signal; 0 if none has arrived.
    """

    def __init__(self) -> None:
        self.signal_number = 0
        self._first_time = 0.0

    def __enter__(self) -> Self:
        """Install the signal handlers."""
        self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.signal_number:
            self.signal_number, self._first_time = number, time.monotonic()
        elif not is_duplicate(self._first_time):
            raise KeyboardInterrupt
