"""Refusals of local services that need no running server; tests/services runs the real ones."""

import socket
from pathlib import Path

import pytest

from tests.unit.devtools.conftest import Web
from tinyunet.core.errors import UserError
from tinyunet.devtools import services
from tinyunet.devtools.processes import ProcessRecord, ensure_running, free_port, running_process


def test_a_taken_port_is_reported_with_its_variable_and_nothing_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} for minio is in use; set TINYUNET_MINIO_PORT"):
            services.start(tmp_path, minio_port=port, mlflow_port=free_port())
    assert not any(running_process(tmp_path, name) for name in ("minio", "mlflow"))


def test_stop_does_not_touch_another_process_with_the_same_pid(tmp_path: Path, web: Web) -> None:
    service, command = web
    ensure_running(tmp_path, service, lambda: command, {})
    process = running_process(tmp_path, "web")
    assert process is not None
    older = ProcessRecord(pid=process.pid, created=process.create_time() - 100)
    (tmp_path / "minio.pid").write_text(older.model_dump_json())
    assert services.stop(tmp_path) == []
    assert process.is_running()
    assert service.healthy()


def test_a_minio_bin_that_is_not_a_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIO_BIN", str(tmp_path / "absent"))
    with pytest.raises(UserError, match="set MINIO_BIN to the server's program"):
        services.start(tmp_path / "services", minio_port=free_port(), mlflow_port=free_port())
    assert "which is not a program" in capfd.readouterr().err
