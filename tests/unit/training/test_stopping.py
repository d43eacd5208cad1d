"""The request to stop: the first signal, its duplicate, and a second request."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tinyunet.core.stopping import ABANDONED, STOP_SIGNAL
from tinyunet.training.run import TrainingRun
from tinyunet.training.stopping import DUPLICATE_S, StopRequest, lease_watch, stopped


@pytest.fixture(autouse=True)
def handler() -> Iterator[object]:
    """The handler of the stop signal in this process, which every test restores."""
    before = signal.getsignal(STOP_SIGNAL)
    yield before
    signal.signal(STOP_SIGNAL, before)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    yield now
    monkeypatch.undo()


def test_a_duplicate_has_no_effect_and_a_later_signal_interrupts(clock: list[float]) -> None:
    with StopRequest() as request:
        assert request.signal_number == 0
        os.kill(os.getpid(), signal.SIGINT)
        clock[0] += DUPLICATE_S - 0.1
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signal_number == signal.SIGINT
        clock[0] += 0.2
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)


def test_the_end_of_the_lease_is_a_request_and_the_message_says_why_and_how_to_resume(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store: dict[str, bytes] = {}
    monkeypatch.setattr("tinyunet.storage.s3.exists", store.__contains__)
    monkeypatch.setattr("tinyunet.storage.s3.read_bytes", store.__getitem__)
    monkeypatch.setattr(
        "tinyunet.storage.s3.write_bytes", lambda uri, data, read_s: store.update({uri: data})
    )
    run = TrainingRun(records="r", out="s3://bucket/model", lease=1)
    watch = lease_watch(run)
    assert watch is not None
    watch._seconds = 0.01
    with StopRequest(watch) as request:
        deadline = time.monotonic() + 10
        while not request.exit_code and time.monotonic() < deadline:
            time.sleep(0.002)
        assert request.exit_code == ABANDONED
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.exit_code == 128 + signal.SIGTERM, "a signal asks for its own exit code"
    assert str(stopped(7, ABANDONED, run)) == (
        "stopped after step 7, because the process that launched this job is gone: nobody renewed "
        "s3://bucket/model.checkpoints/lease for 1 s; Retry of the pipeline run, or a new start "
        "of the job, resumes from here"
    )
    assert lease_watch(TrainingRun(records="r", out="m")) is None


def test_the_stop_signal_of_another_pod_never_interrupts_the_checkpoint_or_what_follows_it(
    clock: list[float], handler: object
) -> None:
    with StopRequest():
        pass
    assert signal.getsignal(STOP_SIGNAL) is handler
    with StopRequest() as request:
        os.kill(os.getpid(), STOP_SIGNAL)
        clock[0] += 2 * DUPLICATE_S
        os.kill(os.getpid(), STOP_SIGNAL)
        assert request.signal_number == STOP_SIGNAL
    os.kill(os.getpid(), STOP_SIGNAL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_handlers_are_installed_in_the_block_and_restored_after_it(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as request:
        os.kill(os.getpid(), number)
        assert request.exit_code == 128 + number, "the exit code of a shell"
    assert signal.getsignal(number) is before
