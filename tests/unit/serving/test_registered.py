"""Engines of models in MLflow: in a database, and on a server that may not answer."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import mlflow
import pytest

from tests.engines import bright_spot_network, write_engine
from tinyunet.core.errors import UserError
from tinyunet.serving import find
from tinyunet.serving.find import find_engine
from tinyunet.tracking.client import experiment_id, open_client

CHAMPION = "models:/part@champion"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def other_engine(tmp_path: Path) -> Path:
    return write_engine(tmp_path / "other", bright_spot_network(offset=-30.0))


def register(client: mlflow.MlflowClient, engine: Path) -> str:
    """Register an engine as the next champion of the model `part`, and return the version."""
    model = client.create_logged_model(experiment_id(client), name="model").model_id
    for file in engine.iterdir():
        client.log_model_artifact(model, str(file), "engine")
    client.finalize_logged_model(model, "READY")
    version = client.create_model_version("part", f"models:/{model}", model_id=model).version
    client.set_registered_model_alias("part", "champion", version)
    return str(version)


@pytest.fixture
def client(database: Path) -> mlflow.MlflowClient:
    client = open_client(existing=True)
    client.create_registered_model("part")
    return client


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_engine_of_a_version_is_downloaded_and_kept(
    client: mlflow.MlflowClient, engine_folder: Path, cache: Path
) -> None:
    version = register(client, engine_folder)
    found = find_engine(CHAMPION, cache=cache)
    assert (found.name, found.version) == ("part", version)
    assert content(found.folder) == content(engine_folder)
    assert find_engine(f"models:/part/{version}", cache=cache) == found
    assert find_engine(f"models:/{found.folder.name}", cache=cache).folder == found.folder


def test_mlflow_is_asked_again_only_after_its_database_has_changed(
    client: mlflow.MlflowClient,
    engine_folder: Path,
    other_engine: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register(client, engine_folder)
    first = find_engine(CHAMPION, cache=cache)
    asked: list[str] = []
    resolve = find.resolve
    monkeypatch.setattr(find, "resolve", lambda uri: asked.append(uri) or resolve(uri))
    assert find_engine(CHAMPION, cache=cache) == first
    assert asked == []
    version = register(client, other_engine)
    second = find_engine(CHAMPION, cache=cache)
    assert asked == [CHAMPION]
    assert (second.version, second.folder != first.folder) == (version, True)


def test_an_engine_with_another_network_than_it_says_is_refused(
    client: mlflow.MlflowClient, engine_folder: Path, cache: Path, tmp_path: Path
) -> None:
    wrong = shutil.copytree(engine_folder, tmp_path / "wrong")
    (wrong / "network.onnx").write_bytes(bright_spot_network(offset=-1.0).SerializeToString())
    register(client, wrong)
    with pytest.raises(UserError, match="has the SHA-256"):
        find_engine(CHAMPION, cache=cache)
    assert [path.name for path in (cache / "engines").iterdir()] == []


class Server(HTTPServer):
    """An MLflow server with one registered model `part`, whose alias champion has version 7."""

    def __init__(self, engine: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.engine = engine


class Handler(BaseHTTPRequestHandler):
    """Answers the requests for the version, the list of its files, and the files."""

    server: Server

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path.endswith(("/registered-models/alias", "/model-versions/get")):
            body = json.dumps({"model_version": {"name": "part", "version": "7", "model_id": "m-1"}}).encode()
        elif url.path.endswith("/directories"):
            files = [
                {"path": f"engine/{file.name}", "file_size": file.stat().st_size}
                for file in self.server.engine.iterdir()
            ]
            body = json.dumps({"root_uri": "file:///models/m-1", "files": files}).encode()
        else:
            body = (self.server.engine.parent / query["artifact_file_path"]).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(engine_folder) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("uri", [CHAMPION, "models:/part/7"])
def test_the_last_known_version_is_used_if_the_server_does_not_answer(
    server: Server, engine_folder: Path, cache: Path, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    found = find_engine(uri, cache=cache)
    assert (found.name, found.version) == ("part", "7")
    assert content(found.folder) == content(engine_folder)
    assert capsys.readouterr().err == ""
    server.shutdown()
    server.server_close()
    assert find_engine(uri, cache=cache) == found
    said = capsys.readouterr().err
    assert "does not answer" in said
    assert "version 7 of part from the cache is used" in said
    with pytest.raises(UserError, match="does not answer"):
        find_engine("models:/unknown@champion", cache=cache)
