"""A request to stop: once, its echo, and a second one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tinyunet.launch import local_ranks
from tinyunet.launch.local_ranks import TrainingFailed
from tinyunet.training.stopping import ECHO_S, STOP_RANKS, Stopped, StopRequest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now
    monkeypatch.undo()


def test_an_echo_is_no_second_request_and_a_later_signal_interrupts(clock: list[float]) -> None:
    with StopRequest() as stop:
        assert stop.number == 0
        os.kill(os.getpid(), signal.SIGINT)
        clock[0] += ECHO_S - 0.1
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGINT
        clock[0] += 0.2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, STOP_RANKS])
def test_each_signal_is_a_request_within_the_block_and_what_it_was_afterwards(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        os.kill(os.getpid(), number)
        assert stop.number == number
    assert signal.getsignal(number) is before
    assert Stopped(7, number).exit_code == 128 + number, "as a shell says it"


@pytest.mark.parametrize(("later", "sent"), [(ECHO_S - 0.1, ["USR2"]), (ECHO_S + 0.1, ["USR2", "TERM"])])
def test_mpirun_is_asked_once_and_ended_by_a_second_request(
    later: float, sent: list[str], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Process:
        """Stands for mpirun: signals reach this test while it waits."""

        def send_signal(self, number: int) -> None:
            told.append(signal.Signals(number).name.removeprefix("SIG"))

        def wait(self) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            clock[0] += later
            os.kill(os.getpid(), signal.SIGTERM)
            return 143

    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: Process())
    with pytest.raises(TrainingFailed, match="training was stopped; the same command resumes") as caught:
        local_ranks.run(["mpirun", sys.executable])
    assert (told, caught.value.code) == (sent, 128 + signal.SIGTERM)


@pytest.mark.parametrize(
    ("program", "says", "code", "said"),
    [
        ("exit 2", "training ended with exit code 2; its last lines are above", 2, True),
        ("exit 1", "training ended with exit code 1; its last lines are above", 1, False),
        ("kill -TERM $$", "training ended: SIGTERM ended a rank$", 143, False),
        (
            "kill -KILL $$",
            "SIGKILL ended a rank, as Linux does when memory is out",
            137,
            False,
        ),
    ],
)
@pytest.mark.parametrize("launcher", [[], local_ranks.mpirun(1)], ids=["alone", "mpirun"])
def test_an_end_of_the_ranks_is_told_in_one_line(
    launcher: list[str], program: str, says: str, code: int, said: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TrainingFailed, match=says) as caught:
        local_ranks.run([*launcher, "bash", "-c", program])
    assert (caught.value.code, caught.value.said) == (code, said)
    assert "Primary job" not in "".join(capfd.readouterr()), "mpirun's own paragraphs"
