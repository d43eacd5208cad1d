"""Settings on the command line, and the handling of errors."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tinyunet.cli.main import parse
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
        (UserError("a\nb is missing"), 2, "tinyunet: error: a\\nb is missing\n"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "aaa"), 2,
            "tinyunet: error: aaa: File name too long; correct this, and run the command again\n",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"), 2,
            "tinyunet: error: No space left on device; correct this, and run the command again\n",
        ),
        (KeyboardInterrupt(), 130, "tinyunet: interrupted\n"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_and_an_exit_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(fail(error)) == code
    assert capsys.readouterr().err == line


def test_other_exceptions_are_not_handled() -> None:
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    for error in (ZeroDivisionError(), OSError("of a library"), refused):
        with pytest.raises(type(error)):
            run_command(fail(error))


def test_the_scheme_of_a_location_may_be_in_capital_letters() -> None:
    arguments = parse(["train", "S3://Line/X", "--out", "S3://Line/Y", "--checkpoints", "S3://Line/Z"])
    assert (arguments.records, arguments.out) == ("s3://Line/X", "s3://Line/Y")
    assert arguments.checkpoints == "s3://Line/Z"


def test_an_empty_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for command, name in (
        (["ingest", "", "--out", "raw"], "source"),
        (["ingest", "synthetic://", "--out", ""], "--out"),
        (["predict", "a.png", "", "--model", "model", "--out", "out"], "FILE|DIR"),
        (["predict", "a.png", "--model", " ", "--out", "out"], "--model"),
        (["train", "", "--out", "out"], "records"),
        (["serve", ""], "model"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parse(command)
        assert f"argument {name}: is '" in capsys.readouterr().err


WRITE = """
import os, sys, time
from tinyunet.cli.options import run_command
from tinyunet.core.errors import UserError

def write():
    if sys.argv[-1] == "refused":
        time.sleep(0.2)
        print("a line that nobody reads")
        raise UserError("steps is 0")
    print("\\udcff", "\\u00fc" * 70_000)
    with open(sys.argv[-1], "w") as file:
        file.write(f"{file.fileno() > 2 and os.get_inheritable(1)}")

sys.exit(run_command(write))
"""


@pytest.mark.parametrize(
    ("streams", "code", "line"),
    [
        ("", 0, ""),
        (">&-", 0, ""),
        ("2>&-", 0, ""),
        ("<&- >&- 2>&-", 0, ""),
        (
            ">/dev/full",
            2,
            "tinyunet: error: No space left on device; correct this, and run the command again",
        ),
        ("| true", 141, ""),
        ("refused | true", 2, "tinyunet: error: steps is 0"),
    ],
)
def test_streams_may_be_closed_full_or_unread(streams: str, code: int, line: str, tmp_path: Path) -> None:
    (tmp_path / "write.py").write_text(WRITE)
    command = f'"{sys.executable}" write.py out {streams}; exit ${{PIPESTATUS[0]}}'
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "".join(done.stderr.splitlines()[-1:])) == (code, line)
    assert "Traceback" not in done.stderr
    if code == 0:
        assert (tmp_path / "out").read_text() == "True"


@pytest.mark.usefixtures("rank_1")
def test_only_rank_0_prints_its_error_at_once(delays: list[float]) -> None:
    assert run_command(fail(UserError("steps is 0"))) == 2
    assert delays == [ERROR_DELAY_S]


@pytest.mark.usefixtures("rank_1")
def test_only_rank_0_reports_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""
