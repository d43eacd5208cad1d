"""Run the whole pipeline as a separate process in a separate folder."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
TINY = ("--source", "synthetic://?train=24&test=16&size=32&seed=7", "--image-size", "32", "--steps", "6")
QUICK = (*TINY, "--set", "global_batch=4", "--set", "validate_every=3", "--set", "checkpoint_every=3")


def command(*arguments: str, python: str = sys.executable) -> list[str]:
    return [python, "-m", "pipeline.run_local", *arguments]


def environment() -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "AWS_", "S3_"))}
    return inherited | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'components'}",
        "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    }


def run_local(
    folder: Path, *arguments: str, python: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Run in this folder, so that `runs/` is created there; `python` is also the interpreter of the steps."""
    line = command(*arguments, python=python)
    return subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=900)


def wait_for_text(folder: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the log of the run contains the text."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        if any(text in log.read_text() for log in folder.glob("runs/*/run.log")):
            return
        time.sleep(0.2)
    process.terminate()  # it terminates its ranks
    raise AssertionError(f"no log contains {text!r}: {process.communicate()}")


def wait_for_children(pid: int, least: int) -> list[psutil.Process]:
    """Return the descendants of a process, KFP's shell and its Python, once there are at least so many."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        children = psutil.Process(pid).children(recursive=True)
        if len(children) >= least:
            return children
        time.sleep(0.1)
    raise AssertionError(f"process {pid} has not started {least} children within a minute")
