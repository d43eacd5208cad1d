"""Processes of a training: signals that are forwarded to them, and errors from their exit codes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tinyunet.core.errors import UserError
from tinyunet.launch.local_ranks import TrainingFailed, mpirun, mpirun_fault, run_ranks
from tinyunet.training.stopping import DUPLICATE_S


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("program", "first"), [("mpirun", "USR2"), (sys.executable, "TERM")], ids=["mpirun", "one rank"]
)
@pytest.mark.parametrize(
    ("interval", "count"),
    [(DUPLICATE_S - 0.1, 1), (DUPLICATE_S + 0.1, 2)],
    ids=["duplicate", "second request"],
)
def test_a_signal_is_forwarded_once_and_mpirun_gets_the_stop_signal_first(
    program: str, first: str, interval: float, count: int, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    class Process:
        """A process that gets two SIGTERM while this test waits for it."""

        def send_signal(self, number: int) -> None:
            sent.append(signal.Signals(number).name.removeprefix("SIG"))

        def wait(self) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            clock[0] += interval
            os.kill(os.getpid(), signal.SIGTERM)
            return 143

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: Process())
    with pytest.raises(TrainingFailed, match="training was stopped; the same command resumes") as caught:
        run_ranks([program])
    assert sent == [first, "TERM"][:count]
    assert (caught.value.exit_code, caught.value.reported) == (128 + signal.SIGTERM, True)


@pytest.mark.parametrize(
    ("program", "message", "exit_code", "reported"),
    [
        ("exit 2", "training failed with exit code 2; its last lines are above", 2, True),
        ("exit 1", "training failed with exit code 1; its last lines are above", 1, False),
        ("kill -TERM $$", "training failed: a rank was ended by SIGTERM$", 143, False),
        (
            "kill -KILL $$",
            "a rank was ended by SIGKILL, which Linux sends when memory is exhausted",
            137,
            False,
        ),
    ],
)
@pytest.mark.parametrize("launcher", [[], mpirun(1)], ids=["one rank", "mpirun"])
def test_an_exit_code_of_the_ranks_is_an_error_of_one_line(
    launcher: list[str],
    program: str,
    message: str,
    exit_code: int,
    reported: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(TrainingFailed, match=message) as caught:
        run_ranks([*launcher, "bash", "-c", program])
    assert (caught.value.exit_code, caught.value.reported) == (exit_code, reported)
    assert "Primary job" not in "".join(capfd.readouterr()), "mpirun's own report"


def test_a_missing_mpirun_is_an_error(tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="mpirun is not installed; expected Open MPI"):
        run_ranks(mpirun(2))


ALLOCATIONS = {
    "slurm": "SLURM_JOB_ID=7 SLURM_JOBID=7 SLURM_NODELIST=node[1-2] SLURM_JOB_NODELIST=node[1-2]"
    " SLURM_NTASKS=4 SLURM_TASKS_PER_NODE=2(x2) SLURM_NNODES=2 SLURM_JOB_NUM_NODES=2"
    " SLURM_STEP_ID=0 SLURM_PROCID=0",
    "pbs": "PBS_JOBID=7.server PBS_ENVIRONMENT=PBS_BATCH PBS_NODEFILE=/absent",
    "lsf": "LSB_JOBID=7 LSB_HOSTS=node1 LSB_MCPU_HOSTS=node1 LSB_DJOB_HOSTFILE=/absent",
    "sge": "SGE_ROOT=/absent ARC=lx-amd64 JOB_ID=7 PE_HOSTFILE=/absent",
    "settings of Open MPI": "OMPI_MCA_plm=slurm OMPI_MCA_ras=slurm OMPI_MCA_orte_default_hostfile=/absent",
}


@pytest.mark.parametrize("variables", ALLOCATIONS.values(), ids=ALLOCATIONS)
def test_ranks_start_on_this_machine_in_an_allocation_of_a_batch_system(
    variables: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for variable in variables.split():
        monkeypatch.setenv(*variable.split("=", 1))
    run_ranks([*mpirun(2), "bash", "-c", "echo rank $OMPI_COMM_WORLD_RANK"])
    assert sorted(capfd.readouterr().out.splitlines()) == ["rank 0", "rank 1"]


def test_ranks_start_in_a_process_that_mpirun_has_started(capfd: pytest.CaptureFixture[str]) -> None:
    program = (
        "from tinyunet.launch.local_ranks import mpirun, run_ranks; run_ranks([*mpirun(2), 'echo', 'rank'])"
    )
    run_ranks([*mpirun(1), sys.executable, "-c", program])
    assert capfd.readouterr().out.splitlines() == ["rank", "rank"]


def test_the_reason_of_an_mpirun_that_cannot_start_is_part_of_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMPI_MCA_rmaps", "absent")
    reason = (
        "mpirun cannot start ranks on this machine: .*Component: +absent.*; correct this, or use one rank"
    )
    with pytest.raises(UserError, match=reason) as caught:
        run_ranks([*mpirun(2), "true"])
    assert "\n" not in str(caught.value)


def test_mpirun_is_not_blamed_for_the_exit_code_of_a_program() -> None:
    assert mpirun_fault([*mpirun(1), "false"]) == mpirun_fault([sys.executable, "-c", ""]) == ""
