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
from pipeline.local_options import parse, pipeline_arguments
from pipeline.pipeline import STEPS, build, build_classes
from pipeline.preflight import check_local_run
from pipeline.summary import publish, publish_finished_classes
from tinyunet.cli.options import run_command
from tinyunet.core.errors import CommandError
from tinyunet.launch.local_checkpoints import delete_checkpoints
from tinyunet.tracking.uri import default_uri

STOP_TIMEOUT_S = 60.0  # a stopped training finishes up to two steps and writes a checkpoint
SIGNAL_TIMEOUT_S = 0.5  # processes that received the signal of the whole group end within this time
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def run(arguments: Mapping[str, Any], folder: Path) -> Progress:
    """Run the pipeline for one class, or for several classes, in this folder; its log is run.log there.

    Raises:
        StepFailed: naming the step and the log.
    """
    runner = local.SubprocessRunner(use_venv=False)
    # The default workspace would be a folder in /tmp.
    local.init(runner, pipeline_root=str(folder), workspace_root=str(folder / "workspace"))
    classes = arguments.get("classes", ())
    pipeline, total = (build_classes, len(STEPS) * len(classes) + 1) if classes else (build, len(STEPS))
    with (folder / "run.log").open("w") as log:
        console = Console(sys.stdout, log, total=total, classes=classes)
        with _run_environment(console, folder), contextlib.redirect_stdout(console):
            try:
                pipeline()(**arguments)
            except RuntimeError as error:
                _print_finished_classes(folder)
                raise StepFailed(console.progress, folder / "run.log") from error
    return console.progress


def new_folder(root: Path) -> Path:
    """Create the folder of a run, `<date>-<time>`; a second one in the same second ends in -2."""
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


class StepFailed(CommandError):  # noqa: N818  the name reads as the message does
    """A step of the pipeline ended with an error."""

    def __init__(self, progress: Progress, log: Path) -> None:
        step, (kind, message) = progress.failed or (progress.current, progress.error)
        self.exit_code = 2 if kind.endswith("UserError") else 1
        reason = message or kind or "it ended without a message"
        rejected = step == "train" and self.exit_code == 2  # there is nothing to resume
        hint = "" if rejected else _continuation_hint(progress)
        super().__init__(f"step {step} failed: {reason} (whole log: {log}){hint}")


@contextlib.contextmanager
def _run_environment(console: Console, folder: Path) -> Iterator[None]:
    """Set the environment, hide irrelevant warnings, and handle the signals that stop the run."""
    os.environ |= {
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        # Set explicitly, because a pod (of a notebook, for example) has no default.
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI") or default_uri(),
    }
    # A step whose shell has ended becomes a child of this process.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    previous = {n: signal.signal(n, partial(_stop, console, folder)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
            # KFP warns about an image without "python" in its name.
            warnings.filterwarnings("ignore", message=".*custom or non-Python base image")
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(console: Console, folder: Path, number: int, frame: FrameType | None) -> None:
    """Terminate the step, which writes a checkpoint if it trains; kill every process that does not end.

    The process exits at once afterwards, because KFP would start the remaining classes.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ignored, signal.SIG_IGN)  # make sends the signal of the whole group a second time
    console.block_next_task()
    process, deadline = psutil.Process(), time.monotonic() + STOP_TIMEOUT_S
    if not (number == signal.SIGINT and _in_foreground()):  # Ctrl-C has reached every process already
        _terminate(process.children(recursive=True))
    while children := process.children(recursive=True):  # again, because a child may have started meanwhile
        for child in psutil.wait_procs(children, timeout=max(0.1, deadline - time.monotonic()))[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    try:
        _print_finished_classes(folder)
        hint = _continuation_hint(console.progress)
        print(f"tinyunet: stopped; every process of the run has ended{hint}", file=sys.stderr, flush=True)
        console.flush()
    finally:
        os._exit(128 + number)


def _print_finished_classes(folder: Path) -> None:
    """Delete the checkpoints of the finished classes; print their evaluations, for `tinyunet compare`."""
    _delete_checkpoints_of_finished_classes(folder)
    with contextlib.suppress(OSError):  # such as a full disk: the error that ended the run is more important
        print(*(f"{line}\n" for line in publish_finished_classes(folder)), sep="", end="", flush=True)


def _delete_checkpoints_of_finished_classes(folder: Path) -> None:
    """Delete the checkpoints of every class whose last step, register, has finished."""
    for register in folder.glob("tinyunet-*/**/register/executor_output.json"):
        delete_checkpoints(register.parents[1] / "train" / "model")


def _terminate(children: Sequence[psutil.Process]) -> None:
    """Terminate the processes of this process group: KFP's shell and the Python process of the step.

    They end without it if the whole group received the signal. Ranks form another group.
    """

    def is_of_this_group(child: psutil.Process) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(child.pid) == os.getpgrp()
        return False

    for child in psutil.wait_procs(filter(is_of_this_group, children), timeout=SIGNAL_TIMEOUT_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()


def _continuation_hint(progress: Progress) -> str:
    """Return the end of a message that says how to continue the run; empty if nothing can be resumed.

    Of several classes, the finished ones are registered and need no second run. A training resumes from its
    checkpoint.
    """
    if progress.unfinished_classes:
        return f"; continue with CLASS={','.join(map(str, progress.unfinished_classes))}"
    resumes = progress.current in STEPS[STEPS.index("train") :]
    return "; the same command resumes the training" if resumes else ""


def _in_foreground() -> bool:
    return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()


def execute(argv: Sequence[str] | None) -> None:
    """Check the options, run the pipeline, and print the results and their files."""
    arguments = pipeline_arguments(parse(argv, __doc__))
    check_local_run(arguments)
    folder = new_folder(Path("runs"))
    progress = run(arguments, folder)
    print(publish(folder, progress))
    _delete_checkpoints_of_finished_classes(folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code."""
    return run_command(lambda: execute(argv))


if __name__ == "__main__":
    sys.exit(main())
