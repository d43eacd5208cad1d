"""Run a command whose processes may use a limited amount of memory each, and measure what they use."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

GIB = 1 << 30
LIMIT = 2 * GIB
INTERVAL_S = 0.1
CGROUPS = Path("/sys/fs/cgroup")


@dataclass
class Process:
    """A process of a command, with the largest numbers that were seen.

    Attributes:
        name: Program, with the number of the rank under mpirun.
        resident: Resident memory in bytes, with the pages of mapped files.
        anonymous: Resident memory in bytes without the pages of files, which the system can drop.
        limited: Whether the limit of memory was set.
    """

    name: str
    resident: int = 0
    anonymous: int = 0
    limited: bool = False


@dataclass
class Run:
    """A command that has ended.

    Attributes:
        seconds: Its time.
        processes: All processes that were seen, those with the largest memory first.
        lines: Seconds after the start, and text, of each line of its output.
    """

    seconds: float = 0.0
    processes: list[Process] = field(default_factory=list)
    lines: list[tuple[float, str]] = field(default_factory=list)

    def first(self, text: str) -> float | None:
        """Return the seconds until the first line that begins with a text."""
        return next((seconds for seconds, line in self.lines if line.startswith(text)), None)

    def summary(self) -> dict[str, object]:
        """Return time and memory as JSON; processes with less than 64 MiB are left out."""
        large = [process for process in self.processes if process.resident >= GIB // 16]
        return {
            "seconds": round(self.seconds, 1),
            "processes": [
                {
                    "name": process.name,
                    "resident_gib": round(process.resident / GIB, 3),
                    "anonymous_gib": round(process.anonymous / GIB, 3),
                    "limited": process.limited,
                }
                for process in large
            ],
        }


def run_limited(
    command: Sequence[str], limit: int = LIMIT, variables: Mapping[str, str] | None = None
) -> Run:
    """Run a command; every process that it starts gets a cgroup with a limit of memory, if that is possible.

    The output is passed on.

    Args:
        command: The command.
        limit: Memory of each process in bytes.
        variables: Environment variables besides those of this process.

    Raises:
        SystemExit: if the command fails, such as by the limit.
    """
    run, seen, start = Run(), dict[int, Process](), time.monotonic()
    with (
        _cgroups(limit) as groups,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | dict(variables or {}),
        ) as child,
    ):
        reader = threading.Thread(target=_read_lines, args=(child, run, start))
        reader.start()
        while child.poll() is None:
            for process in _tree(child.pid):
                _observe(process, seen, groups)
            time.sleep(INTERVAL_S)
        reader.join()
    run.seconds = time.monotonic() - start
    run.processes = sorted(seen.values(), key=lambda process: -process.resident)
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {run.summary()}")
    return run


def _read_lines(child: "subprocess.Popen[str]", run: Run, start: float) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        run.lines.append((time.monotonic() - start, line.rstrip("\n")))
        sys.stderr.write(line)


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    return []


def _observe(process: psutil.Process, seen: dict[int, Process], groups: "_Groups") -> None:
    """Read the memory of a process; when it is seen first, give it its group."""
    with suppress(psutil.Error, OSError):
        if process.pid not in seen:
            seen[process.pid] = Process(_name(process), limited=groups.add(process.pid))
        status = Path(f"/proc/{process.pid}/status").read_text()
        sizes = {
            key: int(value.split()[0]) * 1024
            for key, _, value in (line.partition(":") for line in status.splitlines())
            if key in ("VmHWM", "RssAnon")
        }
        entry = seen[process.pid]
        entry.name = _name(process)  # a rank is a fork of mpirun until it starts Python
        entry.resident = max(entry.resident, sizes.get("VmHWM", 0))
        entry.anonymous = max(entry.anonymous, sizes.get("RssAnon", 0))


def _name(process: psutil.Process) -> str:
    rank = process.environ().get("OMPI_COMM_WORLD_RANK")
    return process.name() if rank is None else f"{process.name()}, rank {rank}"


class _Groups:
    """Cgroups with a limit of memory, one for each process; without the permission there are none."""

    def __init__(self, limit: int) -> None:
        self._limit, self._folders = limit, list[Path]()
        first = (CGROUPS / "memory").is_dir()
        self._names = ("memory.limit_in_bytes",) if first else ("memory.max",)
        self._parent = CGROUPS / "memory" / _own_group() if first else CGROUPS

    def add(self, pid: int) -> bool:
        """Move a process to a new group; return whether this was possible."""
        folder = self._parent / f"tinyunet-study-{os.getpid()}-{pid}"
        try:
            folder.mkdir()
            self._folders.append(folder)
            for name in self._names:
                (folder / name).write_text(str(self._limit))
            (folder / "cgroup.procs").write_text(str(pid))
        except OSError:
            return False
        return True

    def remove(self) -> None:
        """Remove the groups, whose processes have ended."""
        for folder in self._folders:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def _cgroups(limit: int) -> Iterator[_Groups]:
    groups = _Groups(limit)
    try:
        yield groups
    finally:
        groups.remove()


def _own_group() -> str:
    """Return the group of this process in the memory hierarchy of version 1, without the first slash."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next((line.split(":", 2)[2] for line in lines if ":memory:" in line), "/").lstrip("/")
