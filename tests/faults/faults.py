"""The faults: each is injected into a running command and removed later.

A fault is a context manager. It yields whether it found its victim, and removes the fault at its end. That of
a server, of a connection, of the disk or of the clock always finds it, even if the command has ended before.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import psutil

from tests.faults.runs import Example, send
from tests.faults.servers import NETWORKS

Fault = Callable[[Example], AbstractContextManager[bool]]
TOXICS: Mapping[str, Mapping[str, int]] = {
    "latency": {"latency": 700, "jitter": 300},
    "reset_peer": {"timeout": 0},
    "slow_close": {"delay": 2000},
    "timeout": {"timeout": 0},
}
JUMPS_S = (3600, -3600, -300)  # MinIO refuses requests whose date is wrong by more than 900 seconds
STOPPED_S = 3.0  # a rank is stopped for this time before it is killed
MEMORY = 4 << 20  # bytes that a rank may add


def killed(victim: Callable[[Example], psutil.Process | None], number: signal.Signals) -> Fault:
    @contextmanager
    def inject(example: Example) -> Iterator[bool]:
        yield send(victim(example), number)

    return inject


@contextmanager
def stopped_rank(example: Example) -> Iterator[bool]:
    """Stop a rank, so that the others wait for it; then kill it."""
    rank = example.working_rank(1)
    found = send(rank, signal.SIGSTOP)
    if found:
        time.sleep(STOPPED_S)
        send(rank, signal.SIGKILL)
    yield found


def server(name: str) -> Fault:
    @contextmanager
    def inject(example: Example) -> Iterator[bool]:
        example.servers.kill(name)
        try:
            yield True
        finally:
            example.servers.ensure(name)

    return inject


def toxic(network: str, kind: str) -> Fault:
    @contextmanager
    def inject(example: Example) -> Iterator[bool]:
        example.servers.network.poison(network, kind, TOXICS[kind])
        try:
            yield True
        finally:
            example.servers.network.cure()

    return inject


def jump(seconds: int) -> Fault:
    @contextmanager
    def inject(example: Example) -> Iterator[bool]:
        example.clock.set(seconds)
        try:
            yield True
        finally:
            example.clock.set(0)

    return inject


@contextmanager
def full_disk(example: Example) -> Iterator[bool]:
    ballast = example.folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    try:
        yield True
    finally:
        ballast.unlink()


@contextmanager
def read_only_disk(example: Example) -> Iterator[bool]:
    """Open files remain writable, as those of a disk that fails do until the next access."""
    runs = example.folder / "runs"
    subprocess.run(["mount", "--bind", runs, runs], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", runs], check=True)
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", runs], check=True)


@contextmanager
def no_memory(example: Example) -> Iterator[bool]:
    """Limit the memory of one rank; Linux kills it when it needs more."""
    rank, group = example.working_rank(0), memory_group()
    with suppress(psutil.Error, ProcessLookupError):
        if rank:
            (group / "cgroup.procs").write_text(str(rank.pid))
    yield rank is not None
    for _ in range(100):
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)


def memory_group() -> Path:
    """Create a cgroup with a limit of memory, in the hierarchy that this machine has."""
    root = Path("/sys/fs/cgroup")
    first = (root / "memory").is_dir()
    group = (root / "memory" if first else root) / f"tinyunet-faults-{os.getpid()}"
    group.mkdir(exist_ok=True)
    limits = {"memory.limit_in_bytes": MEMORY} if first else {"memory.max": MEMORY, "memory.swap.max": 0}
    for name, value in limits.items():
        (group / name).write_text(str(value))
    return group


def command_process(example: Example) -> psutil.Process | None:
    assert example.process
    return psutil.Process(example.process.pid) if example.running() else None


FAULTS: dict[str, Fault] = {
    "rank SIGKILL": killed(lambda example: example.working_rank(1), signal.SIGKILL),
    "rank SIGSTOP, SIGKILL": stopped_rank,
    "mpirun SIGKILL": killed(Example.mpirun, signal.SIGKILL),
    **{
        f"pipeline {number.name}": killed(command_process, number)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
    },
    "MLflow SIGKILL": server("mlflow"),
    "MinIO SIGKILL": server("minio"),
    **{f"{network} {kind}": toxic(network, kind) for network in NETWORKS for kind in TOXICS},
    **{f"clock {seconds:+} s": jump(seconds) for seconds in JUMPS_S},
}
OF_ROOT: dict[str, Fault] = {
    "disk full": full_disk,
    "disk read-only": read_only_disk,
    "rank out of memory": no_memory,
}
OF_RANKS = {"rank SIGKILL", "rank SIGSTOP, SIGKILL", "mpirun SIGKILL", "rank out of memory"}


def possible() -> dict[str, Fault]:
    """Return the faults that this user can inject."""
    return FAULTS | ({} if os.geteuid() else OF_ROOT)
