"""`tinyunet doctor`: names what is wrong, says what to do, shows no secret."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tinyunet.devtools import doctor, reachability
from tinyunet.devtools.reachability import Check

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TINYUNET_", "MLFLOW_", "AWS_", "S3_")):
            monkeypatch.delenv(name)


@contextmanager
def answering(status: int, body: str, *, access: str | None = None) -> Iterator[str]:
    """Answer so on a free port; with `access`, only who shows it, and others by 401."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if access in (None, self.headers["Authorization"]) else 401)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_the_command_lists_all_findings_and_ends_with_1_when_something_fails() -> None:
    env = {**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "tinyunet", "doctor"]
    result = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    findings = [line for line in lines if not line.startswith(" ")]
    names = "Python TensorFlow devices Horovod mpirun disk memory settings MLflow S3 S3 Kubernetes Chromium"
    assert [line.split()[1].rstrip(":") for line in findings] == names.split()
    failed = (
        "fail  MLflow: MLFLOW_TRACKING_URI is http://127.0.0.1:9, which does not answer (ConnectionError)"
    )
    assert [line for line in findings if line.startswith("fail")] == [failed]
    assert lines[lines.index(failed) + 1].strip().startswith("-> start it (make services)")


def test_the_known_variables_are_those_that_the_code_reads() -> None:
    files = [p for folder in ("components", "pipeline", "docker", "k8s") for p in (ROOT / folder).rglob("*")]
    files += [ROOT / "Makefile"]
    text = "".join(p.read_text() for p in files if p.is_file() and p.suffix in (".py", ".sh", ".yaml", ""))
    assert set(re.findall(r"TINYUNET_[A-Z][A-Z_]*", text)) == doctor.KNOWN


def test_a_misspelt_variable_is_named_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYUNET_CASHE", "/x")
    check = doctor.settings()
    assert (check.status, check.detail) == ("warn", "unknown variables TINYUNET_CASHE")
    assert "TINYUNET_CACHE" in check.remedy


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({}, "ok", "not set, and no S3_ENDPOINT_URL"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "fail", "half set: AWS_SECRET_ACCESS_KEY is missing"),
        ({"AWS_SECRET_ACCESS_KEY": "hunter2"}, "fail", "half set: AWS_ACCESS_KEY_ID is missing"),
        ({"S3_ENDPOINT_URL": "http://x"}, "fail", "not set, but S3_ENDPOINT_URL is"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hunter2"}, "ok", "set"),
    ],
)
def test_credentials_are_set_both_or_not_at_all(
    settings: dict[str, str], status: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    check = reachability.credentials()
    assert (check.status, words in check.detail) == (status, True)
    assert "hunter2" not in check.detail + check.remedy


@pytest.mark.parametrize(
    ("code", "body", "status", "words"),
    [
        (200, "3.17.2", "ok", "3.17.2 at http://127.0.0.1"),
        (200, "2.9.0", "warn", "2.9.0 at http://127.0.0.1"),
        (
            403,
            "Invalid Host header - possible DNS rebinding attack detected",
            "fail",
            "refuses this host name",
        ),
        (401, "You are not authenticated", "fail", "answers 401 to /version"),
        (200, "<html>a page of something else</html>", "fail", "no MLflow server"),
    ],
)
def test_what_answers_instead_of_mlflow_is_explained(
    code: int, body: str, status: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(code, body) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        check = reachability.tracking()
    assert check.status == status
    assert words in check.detail


@pytest.mark.parametrize(
    ("settings", "access"),
    [
        ({"USERNAME": "me", "PASSWORD": "pw"}, "Basic bWU6cHc="),
        ({"TOKEN": "t"}, "Bearer t"),
        ({"USERNAME": "me", "PASSWORD": "pw", "TOKEN": "t"}, "Basic bWU6cHc="),
    ],
)
def test_a_server_that_asks_for_credentials_is_shown_those_that_mlflow_uses(
    settings: dict[str, str], access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(200, "3.17.2", access=access) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert reachability.tracking().status == "fail"
        for name, value in settings.items():
            monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
        assert reachability.tracking().status == "ok"


def test_credentials_in_mlflows_file_are_shown_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = pw\n"
    )
    with answering(200, "3.17.2", access="Basic bWU6cHc=") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert reachability.tracking().status == "fail"
        monkeypatch.setenv("HOME", str(tmp_path))
        assert reachability.tracking().status == "ok"


def test_an_mlflow_server_that_is_not_there_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:9")
    check = reachability.tracking()
    assert check == Check(
        "MLflow",
        "fail",
        "MLFLOW_TRACKING_URI is http://***@127.0.0.1:9, which does not answer (ConnectionError)",
        "start it (make services), or unset MLFLOW_TRACKING_URI",
    )


def test_a_pod_without_a_tracking_server_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database would be lost with the pod."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert reachability.tracking().status == "ok"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    check = reachability.tracking()
    assert check.status == "fail"
    assert "the ConfigMap tinyunet" in check.detail
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////tmp/runs/mlflow.db")
    assert reachability.tracking().status == "ok"


def test_a_folder_as_tracking_store_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///tmp/mlruns")
    assert reachability.tracking().status == "fail"


def test_an_s3_endpoint_that_is_not_there_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    check = reachability.store()
    assert check.status == "fail"
    assert "the endpoint does not answer" in check.detail
    assert "hunter2" not in check.detail


def test_tensorflow_or_horovod_that_does_not_load_is_told_apart() -> None:
    def finished(out: str, err: str) -> doctor.Finished:
        return subprocess.CompletedProcess([], 1, stdout=out, stderr=err)

    broken = finished("", "Traceback\nImportError: libfoo.so is missing")
    assert doctor.devices(broken).status == "fail"
    assert "ImportError: libfoo.so is missing" in doctor.devices(broken).detail
    half = finished("0 float32\n", "ImportError: undefined symbol")
    assert doctor.devices(half).status == "ok"
    assert doctor.horovod(half).status == "warn"
    assert "undefined symbol" in doctor.horovod(half).detail
    assert doctor.horovod(finished("0 float32\nFalse True\n", "")).detail.endswith("has no MPI")
