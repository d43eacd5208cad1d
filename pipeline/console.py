"""Select the lines of a local run for the terminal: the output of the steps, without KFP's own lines.

The log file contains every line.
"""

import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from pipeline.pipeline import STEPS
from tinyunet.core.urls import redact

COMPARE = "compare"  # the step that runs once, after the steps of all categories
ANSI = re.compile(r"\033\[\d+m")
TASK_STARTED = re.compile(r"Executing task '(?P<task>[\w-]+)'")
TASK_FINISHED = re.compile(r"Task '(?P<task>[\w-]+)' finished with status (?P<status>\w+)")
# Blocks of lines that only the log contains: patterns of the first and of the last line of a block.
LOG_BLOCKS = (
    (re.compile(r"^ *\[KFP Executor .*Got executor_input:"), re.compile(r"^    }$")),
    (re.compile(r"- INFO - Task '[\w-]+' outputs:"), re.compile(r"^-{10}")),
)
TRACEBACK = re.compile(r"^    (Exception Group )?Traceback \(most recent call last\):$")
RAISED = re.compile(r"^    (?P<kind>[\w.]+)(: (?P<message>.*))?$")  # the last line of a traceback
# Single lines that only the log contains.
LOG_LINES = re.compile(
    r"^\s*$|^-{10}|^ *\[KFP Executor |- INFO - (Running pipeline|Streamed logs|Pipeline )"
    r"|^    (During handling of|The above exception was|(\w+\.)+\w*(Error|Exception): )"
    r"|^    (WARNING: All log messages before absl|[IW]0000 00:00:\d+\.\d+ )"  # from TensorFlow's C++ code
    r"|- INFO - Task '[\w-]+' has no outputs"
    r"|^    .* ━+ "  # progress bars that Keras writes to a pipe
)


@dataclass
class Progress:
    """The state of a run.

    Attributes:
        seconds: Wall time of every finished step, summed over the categories.
        finished_steps: Number of steps that finished.
        current: The running or last step, with its category if there are several.
        error: Type and message of the last exception that ended a step.
        failed: The first step that failed, and its error.
        unfinished: Categories whose last step has not finished; empty if there is only one.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    finished_steps: int = 0
    current: str = ""
    error: tuple[str, str] = ("", "")
    failed: tuple[str, tuple[str, str]] | None = None
    unfinished: list[str] = field(default_factory=list)


class Console(io.TextIOBase):
    """Replaces standard output while KFP runs a pipeline.

    Args:
        terminal: Stream that receives a headline for each step, and the lines that the steps print.
        log: Stream that receives every line, without colours and without the secrets in URLs.
        total: Number of steps, which the headlines contain.
        categories: Categories in the order in which the pipeline processes them; empty if there is only one.

    Attributes:
        progress: The state of the run.
    """

    def __init__(self, terminal: TextIO, log: TextIO, *, total: int, categories: Sequence[str] = ()) -> None:
        self.progress = Progress(unfinished=list(categories))
        self._categories, self._category = iter(categories), ""
        self._terminal, self._log, self._total = terminal, log, total
        self._partial_line, self._step_started = "", 0.0
        self._stopping = False
        self._block_end: re.Pattern[str] | None = None

    def writable(self) -> bool:
        """Return True, because text can be written to this stream."""
        return True

    def write(self, text: str) -> int:
        """Add text to the output, and process every line as soon as it is complete."""
        *lines, self._partial_line = (self._partial_line + text).split("\n")
        for line in lines:
            self._process(redact(ANSI.sub("", line)))
        return len(text)

    def flush(self) -> None:
        """Flush the terminal and the log."""
        self._terminal.flush()
        self._log.flush()

    def block_next_task(self) -> None:
        """Block the thread of KFP when it starts another task; call this before the process exits."""
        self._stopping = True

    def _process(self, line: str) -> None:
        while self._stopping and TASK_STARTED.search(line):  # blocks KFP's thread before the next class
            time.sleep(1)
        self._log.write(line + "\n")
        terminal_line = self._terminal_line(line)
        if terminal_line is not None:
            self._terminal.write(terminal_line + "\n")
            self.flush()

    def _terminal_line(self, line: str) -> str | None:
        """Return the line that the terminal shows for a line of the output, or None if it shows none."""
        if self._block_end is not None:
            self._process_block_line(line, self._block_end)
            return None
        self._block_end = RAISED if TRACEBACK.match(line) else _find_block_end(line)
        if self._block_end is not None or LOG_LINES.search(line):
            return None
        if started := TASK_STARTED.search(line):
            return self._start_step(started["task"])
        if finished := TASK_FINISHED.search(line):
            return self._finish_step(finished["task"], finished["status"])
        return line

    def _process_block_line(self, line: str, block_end: re.Pattern[str]) -> None:
        if match := block_end.search(line):
            if block_end is RAISED:
                self.progress.error = (match["kind"], match["message"] or "")
            self._block_end = None

    def _start_step(self, task: str) -> str:
        if task == STEPS[0]:
            self._category = next(self._categories, "")
        elif task == COMPARE:
            self._category = ""
        of_category = f" of {self._category}" if self._category else ""
        self.progress.current, self.progress.error = f"{task}{of_category}", ("", "")
        self._step_started = time.monotonic()
        return f"[{self.progress.finished_steps + 1}/{self._total}] {self.progress.current}"

    def _finish_step(self, task: str, status: str) -> str | None:
        progress = self.progress
        if status != "SUCCESS":
            progress.failed = progress.failed or (progress.current, progress.error)
            reason = progress.error[1] or progress.error[0]
            return f"    {progress.current} failed: {reason}" if self._category else None
        seconds = time.monotonic() - self._step_started
        progress.seconds[task] = progress.seconds.get(task, 0.0) + seconds
        progress.finished_steps += 1
        if task == STEPS[-1] and self._category:
            progress.unfinished.remove(self._category)
        return f"    {task} took {seconds:.1f} s"


def _find_block_end(line: str) -> re.Pattern[str] | None:
    """Return the pattern of the last line of the block that this line begins, or None."""
    return next((end for begin, end in LOG_BLOCKS if begin.search(line)), None)
