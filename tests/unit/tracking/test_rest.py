"""What is sent to an MLflow server without its package, and how its refusals are reported."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.servers import forget_network
from tinyunet.core.errors import Unreachable, UserError
from tinyunet.tracking.rest import ModelFile, download_files, list_files, version_of_alias, version_of_number

ALIAS = "/ml/api/2.0/mlflow/registered-models/alias"
VERSION = {"name": "a b", "version": "7", "run_id": "r", "source": "models:/m-1"}


class Server(ThreadingHTTPServer):
    """Answers by path; a missing path is 404.

    Attributes:
        answers: Status and body by path without its query.
        requests: Path with query, and Authorization, of every request.
        workspaces: Workspace of MLflow of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, Any]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.workspaces: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Authorization"]))
        self.server.workspaces.append(self.headers["X-MLFLOW-WORKSPACE"])
        status, body = self.server.answers.get(self.path.partition("?")[0], (404, {"message": "not found"}))
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """An MLflow below the path /ml of its host; ~/.netrc has other credentials for the host."""
    forget_network(monkeypatch)
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with Server() as one:
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{one.server_address[1]}/ml/")
        yield one
        one.shutdown()


def test_a_version_of_an_early_release_has_its_model_in_its_source(server: Server) -> None:
    server.answers[ALIAS] = (200, {"model_version": VERSION})
    found = version_of_alias("a b", "champion&x")
    assert (found.name, found.version, found.model_id, found.tags) == ("a b", "7", "m-1", {})
    assert server.requests == [(f"{ALIAS}?name=a+b&alias=champion%26x", None)]


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"TOKEN": " secret-token \n"}, "Bearer secret-token"),
        ({"USERNAME": "anna", "PASSWORD": "pw", "TOKEN": "unused"}, "Basic YW5uYTpwdw=="),
    ],
)
def test_the_credentials_are_those_of_mlflows_client(
    server: Server, variables: dict[str, str], header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    server.answers[ALIAS] = (200, {"model_version": VERSION})
    version_of_alias("a", "champion")
    assert server.requests[0][1] == header


def test_the_workspace_is_that_of_mlflows_client(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers[ALIAS] = (200, {"model_version": VERSION})
    for workspace in ("", "team-a"):
        monkeypatch.setenv("MLFLOW_WORKSPACE", workspace)
        version_of_alias("a", "champion")
    assert server.workspaces == [None, "team-a"]


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (503, b"busy", Unreachable, "which answers 503: busy"),
        (429, {"message": "slow"}, Unreachable, "which answers 429: slow"),
        (401, b"no", UserError, "not authorized; set MLFLOW_TRACKING_USERNAME"),
        (403, b"Invalid Host header", UserError, "refuses this host name; start it with --allowed-hosts"),
        (200, b"<html>", UserError, "which answers no JSON; correct the address"),
    ],
)
def test_a_refusal_is_one_line_and_only_a_passing_one_is_unreachable(
    server: Server, status: int, body: Any, error: type[UserError], message: str
) -> None:
    server.answers[ALIAS] = (status, body)
    with pytest.raises(UserError, match=message) as caught:
        version_of_alias("a", "x")
    assert caught.type is error
    assert "\n" not in str(caught.value)


def test_a_version_that_is_missing_is_reported_with_those_that_exist(server: Server) -> None:
    server.answers[ALIAS] = (400, {"message": "Registered model alias x not found."})
    api = "/ml/api/2.0/mlflow/registered-models"
    models = [{"name": f"part-{number}"} for number in range(6)]
    server.answers[f"{api}/search"] = (200, {"registered_models": models})
    with pytest.raises(UserError, match=r"no registered model 'a b'; it has part-0, .*, part-4, …: correct"):
        version_of_alias("a b", "x")
    found = {"aliases": [{"alias": "champion", "version": "9"}], "latest_versions": [{"version": "10"}]}
    server.answers[f"{api}/get"] = (200, {"registered_model": found})
    with pytest.raises(UserError, match=r"'a b' has no alias x; it has the alias champion \(version 9\) and"):
        version_of_alias("a b", "x")
    with pytest.raises(UserError, match=r"has no version 11; .* use models:/a b@champion or models:/a b/10$"):
        version_of_number("a b", "11")


def test_a_server_that_is_not_there_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_network(monkeypatch)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match=r"http://127.0.0.1:9, which does not answer \(ConnectionError\)"):
        version_of_alias("a", "champion")


LIST = "/ml/api/2.0/mlflow/logged-models/m-1/artifacts/directories"
ROOT = "mlflow-artifacts:/2/models/m-1/artifacts"


def test_files_are_listed_with_their_folders_and_downloaded_from_the_public_api(
    server: Server, tmp_path: Path
) -> None:
    server.answers[LIST] = (200, {"root_uri": ROOT, "files": [{"path": "engine/a b", "file_size": "3"}]})
    server.answers["/ml/api/2.0/mlflow-artifacts/artifacts/2/models/m-1/artifacts/engine/a%20b"] = (
        200,
        b"abc",
    )
    files = list_files("m-1", "engine")
    assert files == [ModelFile("engine/a b", 3)]
    download_files("m-1", files, tmp_path / "out")
    assert (tmp_path / "out/engine/a b").read_bytes() == b"abc"


def test_a_folder_that_mlflow_does_not_serve_is_read_through_its_web_page(
    server: Server, tmp_path: Path
) -> None:
    server.answers[LIST] = (200, {"root_uri": "file:///store/m-1", "files": []})
    page = "/ml/ajax-api/2.0/mlflow/logged-models/m-1/artifacts/files"
    server.answers[page] = (200, b"abc")
    download_files("m-1", [ModelFile("engine/a", 3)], tmp_path)
    assert (tmp_path / "engine/a").read_bytes() == b"abc"
    assert server.requests[-1][0] == f"{page}?artifact_file_path=engine%2Fa"


@pytest.mark.parametrize("path", ["../a", "engine/../../a", "/etc/a", ""])
def test_a_path_that_leads_out_of_the_folder_is_refused(server: Server, path: str, tmp_path: Path) -> None:
    server.answers[LIST] = (200, {"root_uri": ROOT, "files": []})
    with pytest.raises(UserError, match="expected a path inside the model"):
        download_files("m-1", [ModelFile(path, 1)], tmp_path / "out")
    assert list(tmp_path.glob("a")) == []


@pytest.mark.parametrize("model_id", ["../../m-1", "..", "a/b", "m 1"])
def test_an_id_that_leads_out_of_the_cache_is_refused(server: Server, model_id: str) -> None:
    server.answers[ALIAS] = (200, {"model_version": {**VERSION, "model_id": model_id}})
    with pytest.raises(UserError, match="names the model"):
        version_of_alias("a b", "champion")


def test_a_file_of_another_size_is_an_interrupted_download(server: Server, tmp_path: Path) -> None:
    server.answers[LIST] = (200, {"root_uri": ROOT, "files": []})
    server.answers["/ml/api/2.0/mlflow-artifacts/artifacts/2/models/m-1/artifacts/engine/a"] = (200, b"abc")
    with pytest.raises(Unreachable, match="got 3 of 4 bytes; try again"):
        download_files("m-1", [ModelFile("engine/a", 4)], tmp_path)
