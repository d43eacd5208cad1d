"""The terminal shows headlines and the lines of the steps; the log file contains every line."""

import io

from pipeline.console import Console

STREAM = """\
08:00:00.000 - INFO - Running pipeline: \033[95m'tinyunet'\033[0m
--------------------------------------------------------------------------------
08:00:00.001 - INFO - Executing task \033[96m'ingest'\033[0m
08:00:00.002 - INFO - Streamed logs:

    [KFP Executor 2026-11-24 08:00:00,500 INFO]: Looking for component `ingest` in `x.py`
    [KFP Executor 2026-11-24 08:00:00,501 INFO]: Got executor_input:
    {
        "inputs": {
            "secret": 1
        }
    }
    24 images
    WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
    I0000 00:00:1795507370.698119    2098 port.cc:153] oneDNN custom operations are on.
    [KFP Executor 2026-11-24 08:00:01,000 INFO]: Wrote executor output file to /x/executor_output.json.


08:00:02.001 - INFO - Task \033[96m'ingest'\033[0m finished with status \033[92mSUCCESS\033[0m
08:00:02.002 - INFO - Task \033[96m'ingest'\033[0m outputs:
    raw: Dataset( name='raw',
                  metadata={} )

--------------------------------------------------------------------------------
08:00:02.003 - INFO - Executing task \033[96m'convert'\033[0m
08:00:02.004 - INFO - Streamed logs:

    urllib3.exceptions.ProtocolError: the cause of the cause is a single line

    The above exception was the direct cause of the following exception:

    Traceback (most recent call last):
      File "a.py", line 1, in <module>
        deep()
    KeyError: 'x'

    The above exception was the direct cause of the following exception:

    Traceback (most recent call last):
      File "b.py", line 2, in <module>
        raise UserError("no")
    tinyunet.errors.UserError: 0001.PNG is 16-bit; expected 8-bit grey


08:00:03.000 - ERROR - Task \033[96m'convert'\033[0m finished with status \033[91mFAILURE\033[0m
--------------------------------------------------------------------------------
"""


def feed(text: str, size: int) -> tuple[Console, str, str]:
    terminal, log = io.StringIO(), io.StringIO()
    console = Console(terminal, log, total=5)
    for start in range(0, len(text), size):
        console.write(text[start : start + size])
    return console, terminal.getvalue(), log.getvalue()


def test_the_terminal_shows_only_headlines_and_the_lines_of_the_steps() -> None:
    _, terminal, _ = feed(STREAM, 7)
    assert terminal == "[1/5] ingest\n    24 images\n    ingest took 0.0 s\n[2/5] convert\n"


def test_a_headline_names_the_class_and_the_first_failure_is_recorded() -> None:
    terminal = io.StringIO()
    console = Console(terminal, io.StringIO(), total=7, categories=["class4", "class2"])
    for task, status in [
        ("ingest", "SUCCESS"),
        ("convert", "FAILURE"),
        ("ingest", "SUCCESS"),
        ("compare", "SUCCESS"),
    ]:
        console.write(f"08:00:00.001 - INFO - Executing task '{task}'\n")
        if status == "FAILURE":
            console.write("    Traceback (most recent call last):\n    tinyunet.errors.UserError: no space\n")
        console.write(f"08:00:00.002 - INFO - Task '{task}' finished with status {status}\n")
    assert [line for line in terminal.getvalue().splitlines() if line.startswith("[")] == [
        "[1/7] ingest of class4",
        "[2/7] convert of class4",
        "[2/7] ingest of class2",
        "[3/7] compare",
    ]
    assert "    convert of class4 failed: no space" in terminal.getvalue()
    assert console.progress.unfinished == ["class4", "class2"]
    assert console.progress.failed == ("convert of class4", ("tinyunet.errors.UserError", "no space"))
    assert console.progress.finished_steps == 3


def test_the_log_contains_every_line_without_colours() -> None:
    _, _, log = feed(STREAM, 7)
    assert len(log.splitlines()) == len(STREAM.splitlines())
    assert '"secret": 1' in log
    assert "\033" not in log


def test_the_last_exception_of_a_step_is_recorded() -> None:
    console, _, _ = feed(STREAM, len(STREAM))
    assert console.progress.current == "convert"
    assert console.progress.error == ("tinyunet.errors.UserError", "0001.PNG is 16-bit; expected 8-bit grey")
    assert list(console.progress.seconds) == ["ingest"]


def test_the_secrets_of_a_source_are_in_no_log_line_terminal_line_or_message() -> None:
    url = "https://me:hidden@host/x.zip?X-Amz-Credential=hidden&X-Amz-Date=1&X-Amz-Signature=hidden"
    text = (
        "    [KFP Executor 2026 INFO]: Got executor_input:\n"
        f'    {{\n        "source": "{url}"\n    }}\n    fetching {url}\n'
        f"    Traceback (most recent call last):\n    tinyunet.errors.UserError: {url} answers 403\n"
    )
    console, terminal, log = feed(text, 3)
    redacted = "https://***@host/x.zip?X-Amz-Credential=***&X-Amz-Date=1&X-Amz-Signature=***"
    assert f'"source": "{redacted}"' in log
    assert terminal == f"    fetching {redacted}\n"
    assert console.progress.error[1] == f"{redacted} answers 403"
    assert "hidden" not in log
