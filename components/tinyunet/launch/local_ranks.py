"""The processes of a training on this machine: the mpirun command, signals and exit codes."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from types import FrameType

from tinyunet.core.errors import UserError
from tinyunet.training.stopping import STOP_SIGNAL, is_duplicate

BAD_INPUT = UserError.exit_code


class TrainingFailed(Exception):  # noqa: N818  the message is a complete sentence
    """The ranks ended without a model.

    Attributes:
        exit_code: Exit code of the ranks.
        reported: Whether the ranks have already printed the reason.
    """

    def __init__(self, message: str, exit_code: int = 1, *, reported: bool = False) -> None:
        super().__init__(message)
        self.exit_code, self.reported = exit_code, reported


def mpirun(ranks: int) -> list[str]:
    """Return the mpirun command for several ranks on this machine.

    The ranks share all cores, so a waiting rank yields its core to the others. As root, Open MPI requires an
    additional option. `--quiet` suppresses mpirun's report of a failed rank, which would hide the error of
    the rank; `run_ranks` reports the failure in one line.
    """
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    shared = ["--oversubscribe", "--bind-to", "none", "--map-by", "slot", "--mca", "mpi_yield_when_idle", "1"]
    return ["mpirun", "--quiet", *as_root, "-np", str(ranks), *shared]


def run_ranks(command: Sequence[str]) -> None:
    """Run one rank, or mpirun with all ranks, and wait for the end; forward signals as a request to stop.

    Args:
        command: Command of the rank, or `mpirun` and its arguments.

    Raises:
        UserError: if mpirun is not installed.
        TrainingFailed: with the exit code of the ranks, or 128 + the number of the signal.
    """
    try:
        # In its own session, Ctrl-C of a terminal reaches the ranks only once, through `forward`.
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=_stop_with_parent)
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]} is not installed; expected Open MPI (Debian: apt-get install openmpi-bin)"
        ) from error

    forwarded: list[tuple[int, float]] = []  # number and time of each signal

    def forward(number: int, frame: FrameType | None) -> None:
        if not forwarded or not is_duplicate(forwarded[0][1]):
            first_to_mpirun = command[0] == "mpirun" and not forwarded
            process.send_signal(STOP_SIGNAL if first_to_mpirun else number)
            forwarded.append((number, time.monotonic()))

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if code and forwarded:
        message = "training was stopped; the same command resumes"
        raise TrainingFailed(message, 128 + forwarded[0][0], reported=True)
    if code:
        raise _failure(code)


def _failure(code: int) -> TrainingFailed:
    """Return the error for an exit code of the ranks; a rank that a signal ended has printed no reason."""
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        memory = ", as Linux does when memory is exhausted" if number == signal.SIGKILL else ""
        return TrainingFailed(
            f"training ended: {signal.Signals(number).name} ended a rank{memory}", 128 + number
        )
    message = f"training ended with exit code {code}; its last lines are above"
    return TrainingFailed(message, code, reported=code == BAD_INPUT)


def _stop_with_parent() -> None:
    """Make Linux send the stop signal to this process when its parent ends (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, STOP_SIGNAL)
