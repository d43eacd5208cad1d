"""Processes of a training on this machine: mpirun's command, their signals and their end."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from types import FrameType

from tinyunet.core.errors import UserError
from tinyunet.training.stopping import STOP_RANKS, is_echo

BAD_INPUT = 2  # exit code of `tinyunet` for what the user can mend


class TrainingFailed(Exception):  # noqa: N818  reads as the sentence that it prints
    """The ranks ended without a model; the message says how, `code` is their exit code.

    `said` is whether they have told all: what they refuse, or that they stop as they were asked to.
    """

    def __init__(self, message: str, code: int = 1, *, said: bool = False) -> None:
        super().__init__(message)
        self.code, self.said = code, said


def mpirun(ranks: int) -> list[str]:
    """Give the mpirun command for ranks on this host.

    A rank that waits yields its core: the others compute on the same ones. Root needs Open MPI's consent.
    Of a rank that fails `run` tells; mpirun's own paragraphs would bury what the rank said.
    """
    consent = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    shared = ["--oversubscribe", "--bind-to", "none", "--map-by", "slot", "--mca", "mpi_yield_when_idle", "1"]
    return ["mpirun", "--quiet", *consent, "-np", str(ranks), *shared]


def run(command: Sequence[str]) -> None:
    """Run one rank, or mpirun with all of them, to its end; signals reach them as a request to stop.

    Raises:
        UserError: if mpirun is not installed.
        TrainingFailed: with their exit code, or 128 + the number of the signal.
    """
    try:
        # Its own session: a terminal's Ctrl-C then reaches the ranks once, through `forward`.
        process = subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_parent)
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]} is not installed; expected Open MPI (Debian: apt-get install openmpi-bin)"
        ) from error

    asked: list[tuple[int, float]] = []

    def forward(number: int, frame: FrameType | None) -> None:
        if not asked or not is_echo(asked[0][1]):
            process.send_signal(number if asked or command[0] != "mpirun" else STOP_RANKS)
            asked.append((number, time.monotonic()))

    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if code and asked:
        raise TrainingFailed("training was stopped; the same command resumes", 128 + asked[0][0], said=True)
    if code:
        raise _failure(code)


def _failure(code: int) -> TrainingFailed:
    """Say how the ranks ended, with their exit code as a shell gives it; a signal leaves no last words."""
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        memory = ", as Linux does when memory is out" if number == signal.SIGKILL else ""
        return TrainingFailed(
            f"training ended: {signal.Signals(number).name} ended a rank{memory}", 128 + number
        )
    message = f"training ended with exit code {code}; its last lines are above"
    return TrainingFailed(message, code, said=code == BAD_INPUT)


def _end_with_parent() -> None:
    """Let Linux stop the ranks if the process that started them is killed (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, STOP_RANKS)
