"""The checks of MLflow and S3 name each problem and its remedy, and show no secret."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tinyunet.devtools import reachability
from tinyunet.devtools.reachability import Check


@contextmanager
def http_server(status: int, body: str, *, authorization: str | None = None) -> Iterator[str]:
    """Run a server that sends one fixed answer, and 401 to requests without the expected authorization."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            allowed = authorization in (None, self.headers["Authorization"])
            self.send_response(status if allowed else 401)
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


@pytest.mark.parametrize(
    ("variables", "status", "detail"),
    [
        ({}, "ok", "not set, and no S3_ENDPOINT_URL"),
        ({"AWS_ACCESS_KEY_ID": "a"}, "fail", "half set: AWS_SECRET_ACCESS_KEY is missing"),
        ({"AWS_SECRET_ACCESS_KEY": "hunter2"}, "fail", "half set: AWS_ACCESS_KEY_ID is missing"),
        ({"S3_ENDPOINT_URL": "http://x"}, "fail", "not set, but S3_ENDPOINT_URL is"),
        ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hunter2"}, "ok", "set"),
    ],
)
def test_both_credentials_must_be_set_or_none(
    variables: dict[str, str], status: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check = reachability.credentials()
    assert (check.status, detail in check.detail) == (status, True)
    assert "hunter2" not in check.detail + check.remedy


@pytest.mark.parametrize(
    ("code", "body", "status", "detail"),
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
        (200, "<html>a page of another program</html>", "fail", "no MLflow server"),
    ],
)
def test_the_answer_of_the_server_is_explained(
    code: int, body: str, status: str, detail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_server(code, body) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        check = reachability.tracking()
    assert check.status == status
    assert detail in check.detail


@pytest.mark.parametrize(
    ("variables", "authorization"),
    [
        ({"USERNAME": "me", "PASSWORD": "pw"}, "Basic bWU6cHc="),
        ({"TOKEN": "t"}, "Bearer t"),
        ({"USERNAME": "me", "PASSWORD": "pw", "TOKEN": "t"}, "Basic bWU6cHc="),
    ],
)
def test_the_check_sends_the_credentials_that_mlflow_sends(
    variables: dict[str, str], authorization: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with http_server(200, "3.17.2", authorization=authorization) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert reachability.tracking().status == "fail"
        for name, value in variables.items():
            monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
        assert reachability.tracking().status == "ok"


def test_the_check_sends_credentials_from_mlflows_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = pw\n"
    )
    with http_server(200, "3.17.2", authorization="Basic bWU6cHc=") as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert reachability.tracking().status == "fail"
        monkeypatch.setenv("HOME", str(tmp_path))
        assert reachability.tracking().status == "ok"


def test_an_unreachable_mlflow_server_is_reported_without_its_password(
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
    """A default database would be lost with the pod."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert reachability.tracking().status == "ok"
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    check = reachability.tracking()
    assert check.status == "fail"
    assert "the ConfigMap tinyunet" in check.detail
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////tmp/runs/mlflow.db")
    assert reachability.tracking().status == "ok"


def test_a_folder_as_tracking_uri_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///tmp/mlruns")
    assert reachability.tracking().status == "fail"


def test_an_unreachable_s3_endpoint_fails(monkeypatch: pytest.MonkeyPatch) -> None:
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
