"""Retries: their duration, and the errors that are retried."""

import time
from collections.abc import Callable

import pytest

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.retry import RETRY_S, retry_while_unreachable


@pytest.fixture(autouse=True)
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock by one that only `sleep` advances; return the durations of the calls."""
    durations: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(durations))
    monkeypatch.setattr(time, "sleep", durations.append)
    return durations


def failing(error: UserError, times: int) -> Callable[[], str]:
    errors = [error] * times

    def call() -> str:
        if errors:
            raise errors.pop()
        return "answer"

    return call


def test_an_outage_prints_one_line(sleeps: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    assert retry_while_unreachable(failing(Unreachable("no connection"), 6), timeout_s=5) == "answer"
    assert sleeps == [RETRY_S] * 6
    assert capsys.readouterr().err == "no connection; trying again for 5 s\n"


def test_the_error_after_the_timeout_names_the_server() -> None:
    with pytest.raises(Unreachable, match="no answer from the object store for 5 s: no connection"):
        retry_while_unreachable(
            failing(Unreachable("no connection"), 7), timeout_s=5, server="the object store"
        )


def test_a_refusal_is_retried_only_on_request(sleeps: list[float]) -> None:
    with pytest.raises(UserError, match="no permission"):
        retry_while_unreachable(failing(UserError("no permission"), 1))
    assert sleeps == []
    assert retry_while_unreachable(failing(UserError("no permission"), 1), also_refusals=True) == "answer"
