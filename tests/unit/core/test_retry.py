"""Waiting for a server that is away: how long, and what counts as away."""

import time
from collections.abc import Callable

import pytest

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.core.retry import RETRY_S, retry_while_unreachable


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes by sleeping alone."""
    naps: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(naps))
    monkeypatch.setattr(time, "sleep", naps.append)
    return naps


def failing(error: UserError, times: int) -> Callable[[], str]:
    left = [error] * times

    def call() -> str:
        if left:
            raise left.pop()
        return "answer"

    return call


def test_a_server_that_comes_back_in_time_costs_one_line(
    slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert retry_while_unreachable(failing(Unreachable("away"), 6), seconds=5) == "answer"
    assert slept == [RETRY_S] * 6
    assert capsys.readouterr().err == "away; trying again for 5 s\n"


def test_a_server_that_stays_away_is_named() -> None:
    with pytest.raises(Unreachable, match="no answer from the object store for 5 s: away"):
        retry_while_unreachable(failing(Unreachable("away"), 7), seconds=5, server="the object store")


def test_a_refusal_is_waited_for_only_where_it_may_be_an_outage(slept: list[float]) -> None:
    with pytest.raises(UserError, match="no permission"):
        retry_while_unreachable(failing(UserError("no permission"), 1))
    assert slept == []
    assert retry_while_unreachable(failing(UserError("no permission"), 1), also_refusals=True) == "answer"
