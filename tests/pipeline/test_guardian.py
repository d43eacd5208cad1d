"""A local run that is killed: its steps end, and its temporary files are deleted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from pipeline.guardian import delete_incomplete, held
from tests.pipeline.local_run import environment

RUN = """
import subprocess, sys
from pipeline.guardian import Guardian

guardian = Guardian()
step = '''
import os, pathlib, time
pathlib.Path(os.environ["TMPDIR"], "left").touch()
print(os.getpid(), flush=True)
time.sleep(600)
'''
subprocess.run([sys.executable, "-c", step])
"""
END = """
import os
from pipeline.guardian import Guardian

guardian = Guardian()
print(os.environ["TMPDIR"])
guardian.dismiss()
"""


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment() | {"TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def test_the_steps_of_a_killed_run_end_and_its_temporary_files_are_deleted(tmp_path: Path) -> None:
    run = start(RUN, tmp_path)
    assert run.stdout
    step = psutil.Process(int(run.stdout.readline()))
    guardian = next(p for p in psutil.Process(run.pid).children() if "pipeline.guardian" in p.cmdline())
    (folder,) = tmp_path.iterdir()
    assert (folder / "left").exists()
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    assert psutil.wait_procs([step, guardian], timeout=30)[1] == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_ends_leaves_neither_the_guardian_nor_its_folder(tmp_path: Path) -> None:
    run = start(END, tmp_path)
    output, _ = run.communicate(timeout=60)
    assert output.startswith(f"{tmp_path}/tinyunet-run-")
    assert list(tmp_path.iterdir()) == []
    assert run.returncode == 0


def test_the_incomplete_outputs_of_killed_runs_are_deleted_and_those_of_other_runs_are_kept(
    tmp_path: Path,
) -> None:
    killed, running, finished = (tmp_path / f"20260101-00000{number}" for number in range(3))
    for run in (killed, running, finished):
        (run / "tinyunet-1/ingest/raw.part").mkdir(parents=True)
        (run / "tinyunet-1/ingest/raw.part/image.png").touch()
        (run / "latest.part").touch()
        (run / "run.log").touch()
    (finished / "report.html").touch()
    with held(running / "run.log"):
        delete_incomplete(tmp_path)
    assert list(killed.rglob("*.part")) == []
    assert len(list(running.rglob("*.part"))) == len(list(finished.rglob("*.part"))) == 2
