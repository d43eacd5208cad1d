"""What ends and deletes the rest of a local run that is killed: steps, temporary files, incomplete outputs.

SIGKILL, which Linux also sends when memory is exhausted, gives a run no time to do this. A step that went on
would hold the lock of its training, and the same command would be refused.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import psutil

MARKER = "TINYUNET_LOCAL_RUN"  # environment variable of all processes of a run: its folder of temporary files
STOP_TIMEOUT_S = 60.0  # within this time, a training finishes up to two steps and writes a checkpoint


class Guardian:
    """Watches this process from now on: the end of this process closes the standard input of the guardian.

    The steps that this process starts get a folder for temporary files, because KFP does not delete its own.
    """

    def __init__(self) -> None:
        self._previous = {name: os.environ.get(name) for name in (MARKER, "TMPDIR")}
        self._folder = tempfile.mkdtemp(prefix="tinyunet-run-")
        command = [sys.executable, "-m", "pipeline.guardian", self._folder, str(os.getpgrp())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        os.environ |= {MARKER: self._folder, "TMPDIR": self._folder}

    def dismiss(self) -> None:
        """End the guardian after the last step; delete the folder, and restore the environment."""
        self.end()
        self.delete_folder()
        for name, value in self._previous.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})

    def end(self) -> None:
        """End the guardian, because this process ends its steps itself."""
        self._process.kill()
        self._process.communicate()

    def delete_folder(self) -> None:
        """Delete the temporary files of the steps, which have ended."""
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def held(log: Path) -> Iterator[TextIO]:
    """Open the log of a run for writing, and hold a lock on it until the run has ended."""
    with log.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def delete_incomplete(root: Path) -> None:
    """Delete the incomplete outputs of runs that were killed, `*.part`, from the folders of these runs.

    Args:
        root: Folder of all runs. A run that goes on holds its log.
    """
    for log in root.glob("2*/run.log"):
        if (log.parent / "report.html").exists():
            continue  # the run has finished
        with suppress(OSError), log.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for part in [*log.parent.rglob("*.part")]:
                part.unlink() if part.is_file() else shutil.rmtree(part, ignore_errors=True)


def end_processes(marker: str, group: int) -> None:
    """Terminate the steps of a run; kill all its processes that do not end in time.

    Args:
        marker: Value of MARKER in their environment.
        group: Process group of the run and of its steps, but not of the ranks, which a step stops.
    """
    members = _members(marker)
    for process in members:
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == group:
                process.send_signal(signal.SIGTERM)
    psutil.wait_procs(members, timeout=STOP_TIMEOUT_S)
    for process in _members(marker):
        with suppress(psutil.Error):
            process.kill()


def _members(marker: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARKER) == marker:
                found.append(process)
    return found


if __name__ == "__main__":
    sys.stdin.read()
    end_processes(sys.argv[1], int(sys.argv[2]))
    shutil.rmtree(sys.argv[1], ignore_errors=True)
