"""The requests that stop a training: signals, and the end of the lease of an MPIJob.

The training finishes its step and saves a checkpoint. The same command resumes it.
"""

import signal
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from tinyunet.core.stopping import ABANDONED, STOP_SIGNAL
from tinyunet.core.urls import redact

if TYPE_CHECKING:
    from tinyunet.storage.lease import LeaseWatch
    from tinyunet.training.run import TrainingRun

SIGNALS = (signal.SIGINT, signal.SIGTERM, STOP_SIGNAL)
# One request to stop may arrive as two signals within this time, because the terminal sends a signal to the
# whole process group, and the parent process forwards it.
DUPLICATE_S = 5.0
RESUME = "; the same command resumes"


class Stopped(Exception):  # noqa: N818  not an error: the user asked for it
    """The training ended early because it was asked to; its state is saved.

    Attributes:
        exit_code: 128 + the number of the signal, as in a shell, or ABANDONED.
    """

    def __init__(self, step: int, exit_code: int, reason: str = RESUME) -> None:
        super().__init__(f"stopped after step {step}{reason}")
        self.exit_code = exit_code


INTERRUPTIONS = Stopped | KeyboardInterrupt | SystemExit  # what ends a training that someone stops


def is_duplicate(first: float) -> bool:
    """Return whether a signal that arrives now belongs to the request of an earlier signal.

    Args:
        first: Time of the earlier signal (`time.monotonic`), in seconds.
    """
    return time.monotonic() - first < DUPLICATE_S


class StopRequest:
    """Records the first SIGINT, SIGTERM or SIGUSR2, and raises KeyboardInterrupt for a second request.

    A later SIGUSR2 is no second request: every pod of a job sends it to its ranks when its own end comes. It
    remains ignored after the block, because then the run in MLflow gets its end.

    Args:
        lease: The lease of the job, whose end is also a request; None if nobody renews one.

    Attributes:
        signal_number: Number of the first signal; 0 if none has arrived.
    """

    def __init__(self, lease: "LeaseWatch | None" = None) -> None:
        self.signal_number = 0
        self._first_time = 0.0
        self._lease = lease

    @property
    def exit_code(self) -> int:
        """The exit code that the request asks for; 0 as long as there is none."""
        if self.signal_number:
            return 128 + self.signal_number
        return ABANDONED if self._lease and self._lease.expired else 0

    def __enter__(self) -> Self:
        """Install the signal handlers, and look at the lease."""
        if self._lease:
            self._lease.__enter__()
        self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restore the previous signal handlers; a SIGUSR2 that was the request remains ignored."""
        for number, handler in self._previous.items():
            repeated = number == self.signal_number == STOP_SIGNAL
            signal.signal(number, signal.SIG_IGN if repeated else handler)
        if self._lease:
            self._lease.__exit__(kind, error, trace)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self.signal_number:
            self.signal_number, self._first_time = number, time.monotonic()
        elif number != STOP_SIGNAL and not is_duplicate(self._first_time):
            raise KeyboardInterrupt


def lease_watch(run: "TrainingRun") -> "LeaseWatch | None":
    """Return the watch of the lease that the launcher of this training renews; None if there is none."""
    from tinyunet.storage.lease import LeaseWatch

    return LeaseWatch(run.lease_location, run.lease) if run.lease else None


def stopped(step: int, exit_code: int, run: "TrainingRun") -> Stopped:
    """Return the exception that ends a training after this step, with the reason for the log.

    Args:
        step: The last step.
        exit_code: 128 + the number of the signal, or ABANDONED.
        run: The training.
    """
    if exit_code != ABANDONED:
        return Stopped(step, exit_code)
    reason = (
        f", because the process that launched this job is gone: nobody renewed {redact(run.lease_location)} "
        f"for {run.lease} s; Retry of the pipeline run, or a new start of the job, resumes from here"
    )
    return Stopped(step, exit_code, reason)
