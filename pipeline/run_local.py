"""Run the whole pipeline on this machine: `make run`, or `python -m pipeline.run_local --source PATH`."""

import argparse
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
import yaml
from kfp import local

from pipeline.console import Console, Steps
from pipeline.pipeline import STEPS, build, build_classes
from pipeline.preflight import check
from pipeline.summary import finished, publish
from tinyunet.cli.options import Parser, parse_settings
from tinyunet.core.config import DataConfig, EvalConfig, TrainConfig
from tinyunet.core.errors import UserError, require
from tinyunet.data.dagm import CLASSES
from tinyunet.launch.local_checkpoints import delete_checkpoints
from tinyunet.tracking.uri import default_uri

GRACE_S = 60.0  # time that a stopped training has to finish up to two steps and keep a checkpoint
ECHO_S = 0.5  # time in which a signal to the whole process group shows
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; the destinations are the pipeline's parameters."""
    parser = Parser(prog="tinyunet", description=__doc__)
    parser.hint = "make lists what make run takes"
    add = parser.add_argument
    add("--source", default="synthetic://", help="folder, .zip, s3://, https:// or synthetic://")
    add("--class-id", dest="classes", default=str(DataConfig().class_id), help="1 to 10, or 1,3,5, or all")
    add("--preset", default=TrainConfig().preset, help="fast, thorough or nvidia")
    add("--image-size", type=int, default=TrainConfig().image_size, help="side in pixels, a multiple of 16")
    add("--steps", type=int, default=0, help="optimizer steps; 0 is the preset's")
    add("--precision", default=TrainConfig().precision, help="auto, float32, mixed_float16 or mixed_bfloat16")
    add("--seed", type=int, default=TrainConfig().seed)
    add("--ranks", dest="workers", type=int, default=1, help="Horovod ranks (mpirun)")
    add("--test-time-poses", type=int, default=EvalConfig().test_time_poses, help="1, or 8: mean of all poses")
    add("--image-score", default=EvalConfig().image_score, help="max, top100 or smoothed")
    add("--model-name", default="", help="registered model (default: one per class)")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="a training option")
    return parser.parse_args(argv)


def pipeline_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Give the parameters of the pipeline of one class, or (`classes`) of that of several.

    A local source becomes absolute, settings become one YAML mapping.
    """
    values = {key: value for key, value in vars(options).items() if key not in ("settings", "classes")}
    values |= _classes(options.classes, values)
    require(bool(options.source), "source", options.source, "a folder, a .zip or a URL (DATA=…)")
    require(options.steps >= 0, "steps", options.steps, "at least 1, or 0 for the preset's own number")
    if "://" not in options.source:
        values["source"] = str(Path(options.source).absolute())
    # Quotes are removed, as YAML does.
    settings = {key: value.strip("\"'") for key, value in parse_settings(options.settings).items()}
    overrides = yaml.safe_dump(settings) if settings else ""
    return values | {"overrides": overrides, "slots_per_worker": 1, "launcher": "local"}


def _classes(text: str, values: dict[str, Any]) -> dict[str, Any]:
    try:
        classes = list(CLASSES) if text == "all" else [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"class is {text!r}; expected 1 to 10, several as 1,3,5, or all") from None
    if len(classes) == 1:
        return {"class_id": classes[0]}
    if len(set(classes)) < len(classes):
        raise UserError(f"class is {text!r}; expected every class once: leave out the second one")
    if values.pop("model_name"):
        raise UserError("--model-name is for one class; several have a registered model each: leave it out")
    return {"classes": classes}


def run(arguments: Mapping[str, Any], folder: Path) -> Steps:
    """Run the pipeline of one class, or of several, in this folder; its log is run.log there.

    Raises:
        StepFailed: naming the step and the log.
    """
    runner = local.SubprocessRunner(use_venv=False)
    local.init(
        runner, pipeline_root=str(folder), workspace_root=str(folder / "workspace")
    )  # else one in /tmp
    classes = arguments.get("classes", ())
    pipeline, total = (build_classes, len(STEPS) * len(classes) + 1) if classes else (build, len(STEPS))
    with (folder / "run.log").open("w") as log:
        console = Console(sys.stdout, log, total=total, classes=classes)
        with _settled(console, folder), contextlib.redirect_stdout(console):
            try:
                pipeline()(**arguments)
            except RuntimeError as error:
                _tell_finished(folder)
                raise StepFailed(console.steps, folder / "run.log") from error
    return console.steps


def new_folder(root: Path) -> Path:
    """Make the folder of a run, `<date>-<time>`; a second one of the same second ends in -2."""
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


class StepFailed(Exception):  # noqa: N818  reads as the sentence that it prints
    """A step of the pipeline ended with an error."""

    def __init__(self, steps: Steps, log: Path) -> None:
        step, (kind, message) = steps.failed or (steps.current, steps.error)
        self.exit_code = 2 if kind.endswith("UserError") else 1
        reason = message or kind or "it ended without a message"
        go_on = (
            "" if step == "train" and self.exit_code == 2 else _go_on(steps)
        )  # refused: nothing was trained
        super().__init__(f"step {step} failed: {reason} (whole log: {log}){go_on}")


@contextlib.contextmanager
def _settled(console: Console, folder: Path) -> Iterator[None]:
    """Quiet what is noise on one machine, and end the children when the user stops the run."""
    os.environ |= {
        "PYTHONUNBUFFERED": "1",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
        # Named, because in a pod (a notebook's) it is no default.
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI") or default_uri(),
    }
    ctypes.CDLL(None).prctl(
        PR_SET_CHILD_SUBREAPER, 1
    )  # a step outlives KFP's shell as a child of this process
    previous = {n: signal.signal(n, partial(_stop, console, folder)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*have no effect in the current local runner")
            # Judged by "python" in the image's name.
            warnings.filterwarnings("ignore", message=".*custom or non-Python base image")
            yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(console: Console, folder: Path, number: int, frame: FrameType | None) -> None:
    """Tell the step's process, which passes it on (training keeps a checkpoint); kill what does not end.

    Then leave at once: KFP would still begin the classes that it has not come to.
    """
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)  # make passes on what the group has had already
    console.stop()
    me, deadline = psutil.Process(), time.monotonic() + GRACE_S
    if not (number == signal.SIGINT and _in_foreground()):  # there, Ctrl-C has reached all of them already
        _terminate(me.children(recursive=True))
    while children := me.children(recursive=True):  # one may have been started since
        for child in psutil.wait_procs(children, timeout=max(0.1, deadline - time.monotonic()))[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    try:
        _tell_finished(folder)
        said = f"tinyunet: stopped; every process of the run has ended{_go_on(console.steps)}"
        print(said, file=sys.stderr, flush=True)
        console.flush()
    finally:
        os._exit(128 + number)


def _tell_finished(folder: Path) -> None:
    """Say where the evaluations of the classes that are done lie, for `tinyunet compare`."""
    _forget_finished(folder)
    with contextlib.suppress(OSError):  # a full disk, say: the reason of the run's end is worth more
        print(*(f"{line}\n" for line in finished(folder)), sep="", end="", flush=True)


def _forget_finished(folder: Path) -> None:
    """Delete the checkpoints of every class that is registered: that was its last step."""
    for register in folder.glob("tinyunet-*/**/register/executor_output.json"):
        delete_checkpoints(register.parents[1] / "train" / "model")


def _terminate(children: Sequence[psutil.Process]) -> None:
    """Tell KFP's shell and its Python, unless they were told with the whole group; ranks have another."""

    def is_ours(child: psutil.Process) -> bool:
        with contextlib.suppress(ProcessLookupError):
            return os.getpgid(child.pid) == os.getpgrp()
        return False

    for child in psutil.wait_procs([c for c in children if is_ours(c)], timeout=ECHO_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.terminate()


def _go_on(steps: Steps) -> str:
    """Say how to go on: a training resumes; of several classes, some are done, their models registered."""
    if steps.left:
        return f"; go on with CLASS={','.join(map(str, steps.left))}"
    resumes = steps.current in STEPS[STEPS.index("train") :]
    return "; the same command resumes the training" if resumes else ""


def _in_foreground() -> bool:
    return os.isatty(0) and os.tcgetpgrp(0) == os.getpgrp()


def main(argv: Sequence[str] | None = None) -> int:
    """Check, run, and say where things are; give the exit code."""
    options = parse(argv)
    try:
        arguments = pipeline_arguments(options)
        check(arguments)
        folder = new_folder(Path("runs"))
        steps = run(arguments, folder)
        print(publish(folder, steps))
        _forget_finished(folder)
    except (UserError, StepFailed) as error:
        print(f"tinyunet: error: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 2)
    except KeyboardInterrupt:
        print("tinyunet: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
