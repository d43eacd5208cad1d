"""Local services: found again, refused where a port is taken, stopped without touching others."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import Services
from tinyunet.core.errors import UserError
from tinyunet.devtools import services as local
from tinyunet.devtools.processes import Service, ensure, free_port, running, terminate


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def pids(folder: Path) -> dict[str, int]:
    return {name: json.loads((folder / f"{name}.pid").read_text())["pid"] for name in ("minio", "mlflow")}


@contextmanager
def web(folder: Path) -> Iterator[tuple[Service, list[str]]]:
    """A small real server: Python's own, which serves its folder."""
    number = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(number)]
    yield Service("web", f"http://127.0.0.1:{number}", "/", 20), command
    if process := running(folder, "web"):
        terminate(process)


def test_both_services_answer_on_this_machine_only(services: Services) -> None:
    assert all(service.healthy() for service in local._services(services.env))
    for pid in pids(services.folder).values():
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        listening = [c.laddr.ip for p in family for c in p.net_connections() if c.status == "LISTEN"]
        assert set(listening) <= {"127.0.0.1", "::1"}
        assert listening


def test_a_second_start_finds_the_first(services: Services) -> None:
    before, env = pids(services.folder), services.env
    again = local.start(
        services.folder,
        mlflow_port=port(env["MLFLOW_TRACKING_URI"]),
        minio_port=port(env["S3_ENDPOINT_URL"]),
    )
    assert again == env
    assert pids(services.folder) == before


def test_a_start_on_other_ports_names_the_running_one(services: Services) -> None:
    with pytest.raises(UserError, match=r"minio runs at .*; stop it first \(make services-stop\)"):
        local.start(services.folder, minio_port=free_port(), mlflow_port=free_port())
    assert local.read_env(services.folder) == services.env


def test_the_credentials_file_is_private_and_can_be_sourced(services: Services) -> None:
    path = services.folder / "env"
    assert path.stat().st_mode & 0o777 == 0o600
    shell = f". {path} && exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    shown = subprocess.run(["env", "-i", "sh", "-c", shell], stdout=subprocess.PIPE, check=True).stdout
    seen = json.loads(shown)
    assert services.env.items() <= seen.items()


def test_a_taken_port_names_its_variable_and_starts_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {number} for minio is taken; set TINYUNET_MINIO_PORT"):
            local.start(tmp_path, minio_port=number, mlflow_port=free_port())
    assert not any(running(tmp_path, name) for name in ("minio", "mlflow"))


def test_a_service_is_started_once_and_stopped_for_good(tmp_path: Path) -> None:
    with web(tmp_path) as (service, command):
        ensure(tmp_path, service, lambda: command, {})
        first = running(tmp_path, "web")
        ensure(tmp_path, service, lambda: command, {})
        assert first is not None
        assert running(tmp_path, "web") == first
        assert service.healthy()
        terminate(first)
        assert running(tmp_path, "web") is None
        assert not service.healthy()


def test_a_service_that_ends_at_once_is_reported_with_its_last_line(tmp_path: Path) -> None:
    with web(tmp_path) as (service, _):
        command = [sys.executable, "-c", "import sys; sys.exit('the disk is full')"]
        with pytest.raises(UserError, match=r"web did not start: the disk is full; the whole log"):
            ensure(tmp_path, service, lambda: command, {})
        assert running(tmp_path, "web") is None


def test_stop_leaves_a_process_alone_that_only_has_the_same_pid(tmp_path: Path) -> None:
    with web(tmp_path) as (service, command):
        ensure(tmp_path, service, lambda: command, {})
        process = running(tmp_path, "web")
        assert process is not None
        note = {"pid": process.pid, "created": process.create_time() - 100}
        (tmp_path / "minio.pid").write_text(json.dumps(note))
        assert local.stop(tmp_path) == []
        assert process.is_running()
        assert service.healthy()


def test_a_given_minio_binary_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIO_BIN", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="set MINIO_BIN to a MinIO server"):
        local.start(tmp_path / "services", minio_port=free_port(), mlflow_port=free_port())
    assert "which is not a program" in capfd.readouterr().err


def test_the_tracking_server_serves_its_page(services: Services) -> None:
    page = requests.get(services.env["MLFLOW_TRACKING_URI"], timeout=10)
    assert page.status_code == 200
    assert "<title>MLflow</title>" in page.text
