"""The processes of a training on this machine: the mpirun command, signals and exit codes."""

import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from types import FrameType

from tinyunet.core.errors import UserError
from tinyunet.core.stopping import STOP_SIGNAL
from tinyunet.training.stopping import is_duplicate

BAD_INPUT = UserError.exit_code
# Variables that a batch system or an outer MPI launcher sets. If mpirun read them, it might start the ranks
# on other machines, use start programs that this machine does not have, or refuse to start.
_ALLOCATION = re.compile(
    r"(SLURM|PBS|LSB|LOADL|COBALT|ALPS|FLUX|JSM|PALS|PMI|PMIX)_|PE_HOSTFILE$|OMPI_(?!MCA_)"
    r"|OMPI_MCA_(plm|ras|ess|pmix|initial_wdir|orte_(?!tmpdir_base))"
)
# Excludes Open MPI's components for these batch systems, which a configuration file may have selected.
_BATCH_SYSTEMS = "^slurm,tm,lsf,gridengine,loadleveler,alps,pbs,pals,flux"
PROBE_TIMEOUT_S = 30.0
MAX_REASON = 400  # characters


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
    the rank; `run_ranks` reports the failure in one line. The ranks start on this machine even in an
    allocation of a batch system, if the command gets the variables of `rank_environment`.
    """
    as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
    local = ["--host", f"localhost:{ranks}", "--mca", "plm", _BATCH_SYSTEMS, "--mca", "ras", _BATCH_SYSTEMS]
    shared = ["--oversubscribe", "--bind-to", "none", "--map-by", "slot", "--mca", "mpi_yield_when_idle", "1"]
    return ["mpirun", "--quiet", *as_root, "-np", str(ranks), *local, *shared]


def rank_environment() -> dict[str, str]:
    """Return the environment without the variables of a batch system or of an outer MPI launcher."""
    return {name: value for name, value in os.environ.items() if not _ALLOCATION.match(name)}


def mpirun_fault(command: Sequence[str]) -> str:
    """Return why mpirun cannot start any program with the options that a failed command used.

    Returns:
        The reason in one line; empty if mpirun can start a program, or if the command does not use mpirun.
    """
    if command[0] != "mpirun":
        return ""
    ranks = int(command[command.index("-np") + 1])
    probe = [*(word for word in mpirun(ranks) if word != "--quiet"), "true"]
    try:
        done = subprocess.run(
            probe, env=rank_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", timeout=PROBE_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"it does not end within {PROBE_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in f"{done.stderr}{done.stdout}".splitlines()]
    reason = " ".join(line for line in lines if line.strip("-*"))
    return reason[:MAX_REASON] or f"it ends with exit code {done.returncode} and prints no reason"


def run_ranks(command: Sequence[str]) -> None:
    """Run one rank, or mpirun with all ranks, and wait until it ends; forward signals as requests to stop.

    Args:
        command: Command of the rank, or `mpirun` and its arguments.

    Raises:
        UserError: if mpirun is not installed or cannot start any program.
        TrainingFailed: if the ranks failed or were stopped. Its exit code is that of the ranks, or 128 + the
            number of the signal that stopped them.
    """
    try:
        # The process has its own session, so that Ctrl-C reaches it only once: through `forward`.
        process = subprocess.Popen(
            command, env=rank_environment(), start_new_session=True, preexec_fn=stop_with_parent
        )
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
    if code and (fault := mpirun_fault(command)):
        raise UserError(f"mpirun cannot start ranks on this machine: {fault}; correct this, or use one rank")
    if code:
        raise _failure(code)


def _failure(code: int) -> TrainingFailed:
    """Return the error for an exit code of the ranks; a rank that a signal ended has not printed a reason."""
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        memory = ", which Linux sends when memory is exhausted" if number == signal.SIGKILL else ""
        return TrainingFailed(
            f"training failed: a rank was ended by {signal.Signals(number).name}{memory}", 128 + number
        )
    message = f"training failed with exit code {code}; its last lines are above"
    return TrainingFailed(message, code, reported=code == BAD_INPUT)


def stop_with_parent() -> None:
    """Make Linux send the stop signal to this process when its parent ends (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, STOP_SIGNAL)
