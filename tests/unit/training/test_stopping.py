"""The request to stop: the first signal, its duplicate, and a second request."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tinyunet.training.stopping import DUPLICATE_S, STOP_SIGNAL, Stopped, StopRequest


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, STOP_SIGNAL])
def test_the_handlers_are_installed_in_the_block_and_restored_after_it(number: int) -> None:
    before = signal.getsignal(number)
    with StopRequest() as request:
        os.kill(os.getpid(), number)
        assert request.signal_number == number
    assert signal.getsignal(number) is before
    assert Stopped(7, number).exit_code == 128 + number, "the exit code of a shell"
