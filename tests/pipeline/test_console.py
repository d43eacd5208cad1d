"""The terminal shows steps and their own lines; the log file keeps everything."""

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

    urllib3.exceptions.ProtocolError: the cause of a cause has no traceback of its own

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


def test_only_headlines_and_the_steps_own_lines_are_shown() -> None:
    _, shown, _ = feed(STREAM, 7)
    assert shown == "[1/5] ingest\n    24 images\n    ingest took 0.0 s\n[2/5] convert\n"


def test_a_step_of_one_of_several_classes_is_named_with_it_and_the_first_failure_is_kept() -> None:
    terminal = io.StringIO()
    console = Console(terminal, io.StringIO(), total=7, classes=[4, 2])
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
        "[1/7] ingest of class 4",
        "[2/7] convert of class 4",
        "[2/7] ingest of class 2",
        "[3/7] compare",
    ]
    assert "    convert of class 4 failed: no space" in terminal.getvalue()
    assert console.steps.left == [4, 2]
    assert console.steps.failed == ("convert of class 4", ("tinyunet.errors.UserError", "no space"))
    assert console.steps.done == 3


def test_the_log_keeps_every_line_without_colours() -> None:
    _, _, log = feed(STREAM, 7)
    assert len(log.splitlines()) == len(STREAM.splitlines())
    assert '"secret": 1' in log
    assert "\033" not in log


def test_the_last_exception_of_a_step_is_remembered() -> None:
    console, _, _ = feed(STREAM, len(STREAM))
    assert console.steps.current == "convert"
    assert console.steps.error == ("tinyunet.errors.UserError", "0001.PNG is 16-bit; expected 8-bit grey")
    assert list(console.steps.seconds) == ["ingest"]


def test_secrets_of_a_source_reach_neither_log_nor_terminal_nor_message() -> None:
    url = "https://me:hidden@host/x.zip?X-Amz-Credential=hidden&X-Amz-Date=1&X-Amz-Signature=hidden"
    text = (
        "    [KFP Executor 2026 INFO]: Got executor_input:\n"
        f'    {{\n        "source": "{url}"\n    }}\n    fetching {url}\n'
        f"    Traceback (most recent call last):\n    tinyunet.errors.UserError: {url} answers 403\n"
    )
    console, shown, log = feed(text, 3)
    safe = "https://***@host/x.zip?X-Amz-Credential=***&X-Amz-Date=1&X-Amz-Signature=***"
    assert f'"source": "{safe}"' in log
    assert shown == f"    fetching {safe}\n"
    assert console.steps.error[1] == f"{safe} answers 403"
    assert "hidden" not in log
