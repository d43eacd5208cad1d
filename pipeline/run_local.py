"""Run the whole pipeline on this machine: `make run`, or `python -m pipeline.run_local --source PATH`."""

import contextlib
import ctypes
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
from kfp import local

from pipeline.console import Console, Progress
from pipeline.guardian import STOP_TIMEOUT_S, Guardian, delete_incomplete, held
from pipeline.local_options import parse, pipeline_arguments
from pipeline.pipeline import STEPS, build, build_classes
from pipeline.preflight import check_local_run
from pipeline.summary import publish, publish_finished_classes, publish_table_of_finished
from tinyunet.cli.options import run_command
from tinyunet.core.categories import class_category
from tinyunet.core.errors import CommandError
from tinyunet.launch.local_checkpoints import delete_checkpoints
from tinyunet.tracking.uri import default_uri

POLL_S = 1.0  # time between two searches for processes that have started since the signal
SIGNAL_TIMEOUT_S = 0.5  # within this time, a process ends if it received the signal itself
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def run(arguments: Mapping[str, Any], folder: Path) -> Progress:
    """Run the pipeline for one category or for several ones; write everything, with run.log, into `folder`.

    Raises:
        StepFailed: if a step fails; the message names the step and the log.
    """
    runner = local.SubprocessRunner(use_venv=False)
    # The default workspace would be a folder in /tmp.
    local.init(runner, pipeline_root=str(folder), workspace_root=str(folder / "workspace"))
    several = arguments.get("categories", ())
    pipeline, total = (build_classes, len(STEPS) * len(several) + 1) if several else (build, len(STEPS))
    with held(folder / "run.log") as log:
        console = Console(
            sys.stdout, log, total=total, categories=[class_category(category) for category in several]
        )
        with _run_environment(console, folder), contextlib.redirect_stdout(console):
            try:
                pipeline()(**arguments)
            except RuntimeError as error:
                _publish_finished_classes(folder)
                with contextlib.suppress(OSError):  # the error that ended the run is reported
                    print(*publish_table_of_finished(folder, console.progress.unfinished), sep="\n")
                raise StepFailed(console.progress, folder / "run.log") from error
    return console.progress


def new_folder(root: Path) -> Path:
    """Create the folder of a run, `<date>-<time>`; a second run in the same second gets the suffix -2."""
    first = root.absolute() / time.strftime("%Y%m%d-%H%M%S")
    folder, number = first, 1
    while True:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            folder = first.with_name(f"{first.name}-{number}")
        else:
            return folder


class StepFailed(CommandError):  # noqa: N818  named after the event, like JobFailed
    """A step of the pipeline ended with an error."""

    def __init__(self, progress: Progress, log: Path) -> None:
        step, (kind, message) = progress.failed or (progress.current, progress.error)
        self.exit_code = 2 if kind.endswith("UserError") else 1
        reason = message or kind or "it ended without a message"
        wrong_input = step == "train" and self.exit_code == 2  # there is nothing to resume
        hint = "" if wrong_input else _continuation_hint(progress)
        super().__init__(f"step {step} failed: {reason} (whole log: {log}){hint}")


@contextlib.contextmanager
def _run_environment(console: Console, folder: Path) -> Iterator[None]:
    """Set the environment, hide irrelevant warnings, and handle the signals that stop the run."""
    os.environ |= {
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        # Set explicitly, because in a pod (for example of a notebook) the library has no default.
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI") or default_uri(),
    }
    # A step whose shell has ended becomes a child of this process.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    guardian = Guardian()
    stop = partial(_stop, console, folder, guardian)
    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
            # KFP warns about an image without "python" in its name.
            warnings.filterwarnings("ignore", message=".*custom or non-Python base image")
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        guardian.dismiss()


def _stop(console: Console, folder: Path, guardian: Guardian, number: int, frame: FrameType | None) -> None:
    """Stop the run: terminate the running step, and kill its processes that do not end in time.

    A training writes a checkpoint. Afterwards this process exits at once, because otherwise KFP would start
    the remaining classes.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # make forwards a signal that was already received
    console.block_next_task()
    guardian.end()
    process, deadline = psutil.Process(), time.monotonic() + STOP_TIMEOUT_S
    # Ctrl-C has already reached every process that had started.
    signalled = (
        set(process.children(recursive=True)) if number == signal.SIGINT and _in_foreground() else set()
    )
    while children := process.children(recursive=True):  # a child may start another one
        _terminate([child for child in children if child not in signalled])
        signalled.update(children)
        for child in psutil.wait_procs(children, timeout=POLL_S)[1]:
            if time.monotonic() > deadline:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
    guardian.delete_folder()
    try:
        _publish_finished_classes(folder)
        hint = _continuation_hint(console.progress)
        print(f"tinyunet: stopped; every process of the run has ended{hint}", file=sys.stderr, flush=True)
        console.flush()
    finally:
        os._exit(128 + number)


def _publish_finished_classes(folder: Path) -> None:
    """Delete the checkpoints of the finished classes, copy their reports, and print their evaluation folders.

    The command `tinyunet compare` can use these folders.
    """
    _delete_checkpoints_of_finished_classes(folder)
    with contextlib.suppress(OSError):  # for example a full disk; the error that ended the run is reported
        print(*(f"{line}\n" for line in publish_finished_classes(folder)), sep="", end="", flush=True)


def _delete_checkpoints_of_finished_classes(folder: Path) -> None:
    """Delete the checkpoints of every class whose last step, register, has finished."""
    for register in folder.glob("tinyunet-*/**/register/executor_output.json"):
        delete_checkpoints(register.parents[1] / "train" / "model")


def _terminate(children: Sequence[psutil.Process]) -> None:
    """Terminate those children that are in the process group of this process and have not ended.

    They are the shell that KFP starts and the Python process of the step. If the signal was sent to the whole
    group, they end without this function. The ranks are in another process group.
    """

    def is_of_this_group(child: psutil.Process) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(child.pid) == os.getpgrp()
        return False

    for child in psutil.wait_procs(filter(is_of_this_group, children), timeout=SIGNAL_TIMEOUT_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()


def _continuation_hint(progress: Progress) -> str:
    """Return the end of a message that states how to continue the run; empty if nothing can be resumed.

    With several categories, only those that have not finished must be run again. A training resumes from its
    checkpoint.
    """
    if progress.unfinished:
        return f"; continue with CATEGORY={','.join(progress.unfinished)}"
    resumes = progress.current in STEPS[STEPS.index("train") :]
    return "; the same command resumes the training" if resumes else ""


def _in_foreground() -> bool:
    return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()


def execute(argv: Sequence[str] | None) -> None:
    """Check the options, run the pipeline, and print the scores and the paths of the reports."""
    arguments = pipeline_arguments(parse(argv, __doc__))
    check_local_run(arguments)
    delete_incomplete(Path("runs"))
    folder = new_folder(Path("runs"))
    progress = run(arguments, folder)
    print(publish(folder, progress))
    _delete_checkpoints_of_finished_classes(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    return run_command(lambda: execute(argv))


if __name__ == "__main__":
    sys.exit(main())
