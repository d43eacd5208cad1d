"""What a person sees of a local run: KFP's lines less its chatter; the log file keeps every line."""

import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from pipeline.pipeline import STEPS
from tinyunet.core.redaction import redact

AFTER = "compare"  # comes once, after the steps of all classes
ANSI = re.compile(r"\033\[\d+m")
BEGIN = re.compile(r"Executing task '(?P<task>[\w-]+)'")
END = re.compile(r"Task '(?P<task>[\w-]+)' finished with status (?P<status>\w+)")
# Blocks that only the log keeps: first line, last line.
BLOCKS = (
    (re.compile(r"^ *\[KFP Executor .*Got executor_input:"), re.compile(r"^    }$")),
    (re.compile(r"- INFO - Task '[\w-]+' outputs:"), re.compile(r"^-{10}")),
)
TRACEBACK = re.compile(r"^    (Exception Group )?Traceback \(most recent call last\):$")
RAISED = re.compile(r"^    (?P<kind>[\w.]+)(: (?P<message>.*))?$")
CHATTER = re.compile(
    r"^\s*$|^-{10}|^ *\[KFP Executor |- INFO - (Running pipeline|Streamed logs|Pipeline )"
    r"|^    (During handling of|The above exception was|(\w+\.)+\w*(Error|Exception): )"
    r"|^    (WARNING: All log messages before absl|[IW]0000 00:00:\d+\.\d+ )"  # TensorFlow's C++ side
    r"|- INFO - Task '[\w-]+' has no outputs"
    r"|^    .* ━+ "  # bars that Keras draws into a pipe
)


@dataclass
class Steps:
    """What happened so far.

    Attributes:
        seconds: Wall time of every finished step, summed over the classes.
        done: Number of steps that finished.
        current: The step that runs, or ran last, with its class where there are several.
        error: Kind and message of the last exception that a step ended with.
        failed: The first step that failed, and its error.
        left: Of several classes, those whose last step has not finished.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    done: int = 0
    current: str = ""
    error: tuple[str, str] = ("", "")
    failed: tuple[str, tuple[str, str]] | None = None
    left: list[int] = field(default_factory=list)


class Console(io.TextIOBase):
    """Stands in for standard output while KFP runs a pipeline.

    Args:
        terminal: Gets headlines of steps and the steps' own lines.
        log: Gets every line, without colours and without the secrets of URLs.
        total: Number of steps, for the headlines.
        classes: Those that the pipeline takes in turn, each from its first step on; none where it has one.
    """

    def __init__(self, terminal: TextIO, log: TextIO, *, total: int, classes: Sequence[int] = ()) -> None:
        self.steps = Steps(left=list(classes))
        self._classes, self._class_id = iter(classes), 0
        self._terminal, self._log, self._total = terminal, log, total
        self._line, self._began = "", 0.0
        self._stopping = False
        self._until: re.Pattern[str] | None = None

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Take any piece of text; whole lines go on."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._take(redact(ANSI.sub("", line)))
        return len(text)

    def flush(self) -> None:
        """Flush both ends."""
        self._terminal.flush()
        self._log.flush()

    def stop(self) -> None:
        """Hold whoever announces another step, for good: the run is about to end."""
        self._stopping = True

    def _take(self, line: str) -> None:
        while self._stopping and BEGIN.search(line):  # KFP's own thread, which goes on with the next class
            time.sleep(1)
        self._log.write(line + "\n")
        shown = self._shown(line)
        if shown is not None:
            self._terminal.write(shown + "\n")
            self.flush()

    def _shown(self, line: str) -> str | None:
        """Give what the terminal shows for a line; None is nothing."""
        if self._until is not None:
            self._inside_block(line)
            return None
        self._until = RAISED if TRACEBACK.match(line) else _block_end(line)
        if self._until is not None or CHATTER.search(line):
            return None
        if begin := BEGIN.search(line):
            return self._begin(begin["task"])
        if end := END.search(line):
            return self._end(end["task"], end["status"])
        return line

    def _inside_block(self, line: str) -> None:
        assert self._until is not None
        if found := self._until.search(line):
            if self._until is RAISED:
                self.steps.error = (found["kind"], found["message"] or "")
            self._until = None

    def _begin(self, task: str) -> str:
        if task == STEPS[0]:
            self._class_id = next(self._classes, 0)
        elif task == AFTER:
            self._class_id = 0
        of_class = f" of class {self._class_id}" if self._class_id else ""
        self.steps.current, self.steps.error = f"{task}{of_class}", ("", "")
        self._began = time.monotonic()
        return f"[{self.steps.done + 1}/{self._total}] {self.steps.current}"

    def _end(self, task: str, status: str) -> str | None:
        steps = self.steps
        if status != "SUCCESS":
            steps.failed = steps.failed or (steps.current, steps.error)
            reason = steps.error[1] or steps.error[0]
            return f"    {steps.current} failed: {reason}" if self._class_id else None
        took = time.monotonic() - self._began
        steps.seconds[task] = steps.seconds.get(task, 0.0) + took
        steps.done += 1
        if task == STEPS[-1] and self._class_id:
            steps.left.remove(self._class_id)
        return f"    {task} took {took:.1f} s"


def _block_end(line: str) -> re.Pattern[str] | None:
    return next((end for begin, end in BLOCKS if begin.search(line)), None)
