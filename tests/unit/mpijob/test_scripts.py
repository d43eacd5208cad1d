"""The scripts of an MPIJob's containers, run by a shell with a program `ssh` of the test."""

import os
import subprocess
from pathlib import Path

from tinyunet.mpijob.scripts import WAIT_FOR_WORKERS


def wait(folder: Path, ssh: str, seconds: int) -> "subprocess.CompletedProcess[str]":
    """Run the script for two workers and the command `echo ranks`."""
    (folder / "hostfile").write_text("worker-0 slots=1\nworker-1 slots=1\n")
    (folder / "ssh").write_text(f"#!/bin/sh\n{ssh}\n")
    (folder / "ssh").chmod(0o755)
    script = WAIT_FOR_WORKERS.replace("/etc/mpi/hostfile", str(folder / "hostfile"))
    assert "+ 3600" in script
    return subprocess.run(
        ["/bin/sh", "-c", script.replace("+ 3600", f"+ {seconds}"), "mpirun", "echo", "ranks"],
        env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_launcher_starts_the_ranks_once_every_worker_answers(tmp_path: Path) -> None:
    """The second worker answers the second time."""
    result = wait(tmp_path, f"[ $3 = worker-0 ] && exit; mkdir {tmp_path}/asked && exit 1; exit 0", 20)
    assert (result.returncode, result.stdout) == (0, "ranks\n")


def test_a_launcher_names_the_worker_that_never_answers(tmp_path: Path) -> None:
    result = wait(tmp_path, '[ $3 = worker-0 ] || { echo "no key for $3" >&2; exit 255; }', 1)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "no key for worker-1\nworker worker-1 does not answer by ssh\n"
