"""Background processes that are started once, found by their pid file and stopped with their descendants."""

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

from tinyunet.core.documents.base import JsonObject
from tinyunet.core.errors import UserError
from tinyunet.core.network import no_proxy

HOST = "127.0.0.1"
STOP_TIMEOUT_S = 15.0


class ProcessRecord(JsonObject):
    """Content of a pid file: the process id, and the creation time of the process in seconds (Unix)."""

    pid: int
    created: float


@dataclass(frozen=True)
class Service:
    """One server, the check of its health, and the timeout of its start.

    Attributes:
        name: `minio` or `mlflow`; also the stem of its pid file and log file.
        url: Address for clients.
        health: Path that answers with status 200 when the server is ready.
        start_timeout_s: Seconds after which a start counts as failed.
    """

    name: str
    url: str
    health: str
    start_timeout_s: float

    def healthy(self) -> bool:
        """Return whether the server is ready now."""
        try:
            return requests.get(self.url + self.health, timeout=5, proxies={"no_proxy": no_proxy()}).ok
        except requests.RequestException:
            return False


def free_port() -> int:
    """Return a TCP port of this machine on which no process listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def ensure_running(
    folder: Path, service: Service, command: Callable[[], list[str]], env: Mapping[str, str]
) -> None:
    """Start a service unless it already runs, and wait until it is healthy.

    Args:
        folder: Folder of `<name>.pid` and `<name>.log`, and the working directory of the process.
        service: The service to wait for.
        command: Returns the command line; called only if the service must be started.
        env: Variables that are added to the environment of this process.

    Raises:
        UserError: if its port is in use, the process ends, or it is not healthy within the timeout. In these
            cases the service does not run.
    """
    process = running_process(folder, service.name) or _start(folder, service, command, env)
    deadline = time.monotonic() + service.start_timeout_s
    while not service.healthy():
        if running_process(folder, service.name) is None or time.monotonic() > deadline:
            terminate(process)
            log = folder / f"{service.name}.log"
            last = (log.read_text(errors="replace").strip().splitlines() or ["(empty log)"])[-1]
            raise UserError(f"{service.name} did not start: {last[:200]}; the whole log is {log}")
        time.sleep(0.2)


def _start(
    folder: Path, service: Service, command: Callable[[], list[str]], env: Mapping[str, str]
) -> psutil.Process:
    _require_free_port(service)
    arguments = command()
    with (folder / f"{service.name}.log").open("ab") as output:
        child = subprocess.Popen(
            arguments, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd=folder, start_new_session=True,
        )  # fmt: skip
    child.returncode = 0  # so that Popen does not warn about a running child: it outlives this program
    process = psutil.Process(child.pid)
    record = ProcessRecord(pid=process.pid, created=process.create_time())
    (folder / f"{service.name}.pid").write_text(record.model_dump_json())
    return process


def _require_free_port(service: Service) -> None:
    port = int(service.url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            name = f"TINYUNET_{service.name.upper()}_PORT"
            raise UserError(f"port {port} for {service.name} is in use; set {name} to a free port") from error


def running_process(folder: Path, name: str) -> psutil.Process | None:
    """Return the process that a pid file names; None if it ended, or if another process has its pid now."""
    path = folder / f"{name}.pid"
    try:
        record = ProcessRecord.model_validate_json(path.read_text())
        process = psutil.Process(record.pid)
        same = process.create_time() == record.created and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    return process if same else None


def terminate(process: psutil.Process) -> None:
    """Stop a process and its descendants: send SIGTERM, and SIGKILL to those that still run after 15 s."""
    with suppress(psutil.NoSuchProcess):
        processes = [process, *process.children(recursive=True)]
        for signal in ("terminate", "kill"):
            for member in processes:
                with suppress(psutil.NoSuchProcess):
                    getattr(member, signal)()
            _, processes = psutil.wait_procs(processes, timeout=STOP_TIMEOUT_S)
