"""Background processes: started once, found again by pid file, stopped with their descendants."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from tinyunet.core.errors import UserError

HOST = "127.0.0.1"
STOP_S = 15.0


@dataclass(frozen=True)
class Service:
    """One server: what to run, how to see that it is healthy, and how long its start may take.

    Attributes:
        name: minio or mlflow; also the stem of its pid and log files.
        url: Where clients reach it.
        health: Path that answers 200 once it is ready.
        patience_s: Seconds until a start counts as failed.
    """

    name: str
    url: str
    health: str
    patience_s: float

    def healthy(self) -> bool:
        """Whether it answers now."""
        try:
            return requests.get(self.url + self.health, timeout=5).ok
        except requests.RequestException:
            return False


def free_port() -> int:
    """Give a TCP port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def ensure(folder: Path, service: Service, command: Callable[[], list[str]], env: Mapping[str, str]) -> None:
    """Start a service unless it runs already, and wait until it is healthy.

    Args:
        folder: Keeps `<name>.pid` and `<name>.log`; the process works there.
        service: What to wait for.
        command: Gives the command line; called only for a start.
        env: Added to this process's environment.

    Raises:
        UserError: if its port is taken, or it ends or stays silent; it does not run then.
    """
    process = running(folder, service.name) or _launch(folder, service, command, env)
    began = time.monotonic()
    while not service.healthy():
        alive = running(folder, service.name)
        if alive is None or time.monotonic() - began > service.patience_s:
            terminate(process)
            log = folder / f"{service.name}.log"
            last = (log.read_text(errors="replace").strip().splitlines() or ["(empty log)"])[-1]
            raise UserError(f"{service.name} did not start: {last[:200]}; the whole log is {log}")
        time.sleep(0.2)


def _launch(
    folder: Path, service: Service, command: Callable[[], list[str]], env: Mapping[str, str]
) -> psutil.Process:
    _require_free(service)
    arguments = command()
    with (folder / f"{service.name}.log").open("ab") as output:
        child = subprocess.Popen(
            arguments, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd=folder, start_new_session=True,
        )  # fmt: skip
    child.returncode = 0  # it outlives this object: from here on it is known by pid and time of creation
    process = psutil.Process(child.pid)
    note = {"pid": process.pid, "created": process.create_time()}
    (folder / f"{service.name}.pid").write_text(json.dumps(note))
    return process


def _require_free(service: Service) -> None:
    port = int(service.url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            name = f"TINYUNET_{service.name.upper()}_PORT"
            raise UserError(f"port {port} for {service.name} is taken; set {name} to a free one") from error


def running(folder: Path, name: str) -> psutil.Process | None:
    """Give the process of a pid file, if it is still the one that was started."""
    path = folder / f"{name}.pid"
    try:
        note = json.loads(path.read_text())
        process = psutil.Process(note["pid"])
        same = process.create_time() == note["created"] and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if same else None


def terminate(process: psutil.Process) -> None:
    """Stop a process and its descendants: SIGTERM, then SIGKILL for what is left after 15 s."""
    with suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        for signal in ("terminate", "kill"):
            for member in family:
                with suppress(psutil.NoSuchProcess):
                    getattr(member, signal)()
            _, family = psutil.wait_procs(family, timeout=STOP_S)
