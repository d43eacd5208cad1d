"""Settings on the command line, and the handling of errors."""

import time
from collections.abc import Callable

import pytest

from tinyunet.cli.options import ERROR_DELAY_S, parse_settings, run_command
from tinyunet.core.errors import CommandError, UserError


def fail(error: BaseException) -> Callable[[], int]:
    def function() -> int:
        raise error

    return function


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the durations of `sleep`, which takes no time."""
    durations: list[float] = []
    monkeypatch.setattr(time, "sleep", durations.append)
    return durations


@pytest.fixture
def rank_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")


def test_settings_are_split_at_the_first_equals_sign() -> None:
    assert parse_settings(["seed=1", "source=a=b"]) == {"seed": "1", "source": "a=b"}


@pytest.mark.parametrize("setting", ["seed", "seed=", "=1"])
def test_a_setting_without_key_or_value_is_refused(setting: str) -> None:
    with pytest.raises(UserError, match=f"--set {setting}; expected KEY=VALUE"):
        parse_settings([setting])


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (3, 3)])
def test_the_exit_code_is_the_result_of_the_command(result: int | None, code: int) -> None:
    assert run_command(lambda: result) == code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("steps is 0"), 2, "tinyunet: error: steps is 0\n"),
        (CommandError("step train failed"), 1, "tinyunet: error: step train failed\n"),
        (KeyboardInterrupt(), 130, "tinyunet: interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(fail(error)) == code
    assert capsys.readouterr().err == line


def test_other_exceptions_are_not_handled() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(fail(ZeroDivisionError()))


@pytest.mark.usefixtures("rank_1")
def test_only_rank_0_prints_its_error_at_once(delays: list[float]) -> None:
    assert run_command(fail(UserError("steps is 0"))) == 2
    assert delays == [ERROR_DELAY_S]


@pytest.mark.usefixtures("rank_1")
def test_only_rank_0_reports_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""
