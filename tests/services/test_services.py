"""The real local services: a second start finds them, and their addresses and credentials are private."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import Services
from tinyunet.core.errors import UserError
from tinyunet.devtools import services as local
from tinyunet.devtools.processes import free_port


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def pids(folder: Path) -> dict[str, int]:
    return {name: json.loads((folder / f"{name}.pid").read_text())["pid"] for name in ("minio", "mlflow")}


def test_both_services_listen_on_the_local_address_only(services: Services) -> None:
    assert all(service.healthy() for service in local._services(services.env))
    for pid in pids(services.folder).values():
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        listening = [c.laddr.ip for p in processes for c in p.connections() if c.status == "LISTEN"]
        assert set(listening) <= {"127.0.0.1", "::1"}
        assert listening


def test_a_second_start_finds_the_running_services(services: Services) -> None:
    before, env = pids(services.folder), services.env
    second_env = local.start(
        services.folder,
        mlflow_port=port(env["MLFLOW_TRACKING_URI"]),
        minio_port=port(env["S3_ENDPOINT_URL"]),
    )
    assert second_env == env
    assert pids(services.folder) == before


def test_a_start_on_other_ports_names_the_running_service(services: Services) -> None:
    with pytest.raises(UserError, match=r"minio runs at .*; stop it first \(make services-stop\)"):
        local.start(services.folder, minio_port=free_port(), mlflow_port=free_port())
    assert local.read_env(services.folder) == services.env


def test_the_credentials_file_is_private_and_can_be_sourced(services: Services) -> None:
    path = services.folder / "env"
    assert path.stat().st_mode & 0o777 == 0o600
    shell = f". {path} && exec {sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    output = subprocess.run(["env", "-i", "sh", "-c", shell], stdout=subprocess.PIPE, check=True).stdout
    variables = json.loads(output)
    assert services.env.items() <= variables.items()


def test_the_tracking_server_serves_its_page(services: Services) -> None:
    page = requests.get(services.env["MLFLOW_TRACKING_URI"], timeout=10)
    assert page.status_code == 200
    assert "<title>MLflow</title>" in page.text
