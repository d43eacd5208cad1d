"""How a training is asked to stop, and the exit codes with which the ranks of a job say why they stopped."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# mpirun forwards SIGUSR2 to the ranks and waits for them. On SIGTERM and SIGINT it kills them.
STOP_SIGNAL = signal.SIGUSR2
STOPPED_BY_SIGNAL = 128 + STOP_SIGNAL  # Kubernetes ends the pods of a job with this signal
ABANDONED = 75  # EX_TEMPFAIL of sysexits.h: nobody renews the lease of the job, a later start resumes


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise SystemExit in the block on SIGTERM; do nothing outside the main thread."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
