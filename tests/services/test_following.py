"""A server follows its alias in a real MLflow: new versions, broken versions, and a server that is down."""

import logging
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

import mlflow
import numpy as np
import pytest

from tests.conftest import Services
from tests.engines import bright_spot_network, write_engine
from tests.servers import relay
from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import Unreachable, UserError
from tinyunet.server.following import Follower, load_first, pinned
from tinyunet.server.holder import CurrentModel, Served
from tinyunet.tracking.names import ENGINE_FOLDER

IMAGE = np.full((32, 48, 1), 100, np.uint8)
Register = Callable[[Path], str]


class Front(ThreadingTCPServer):
    """A port that is forwarded to MLflow, until it is closed."""

    allow_reuse_address = daemon_threads = True
    target: tuple[str, int]


class _Handler(BaseRequestHandler):
    server: Front

    def handle(self) -> None:
        with socket.create_connection(self.server.target, timeout=10) as upstream:
            relay(self.request, upstream)


class Switch:
    """MLflow at an address at which it can be switched off and on."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target, self._port, self._front = (str(parts.hostname), int(parts.port or 80)), 0, None
        self.on()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def on(self) -> None:
        self._front = Front(("127.0.0.1", self._port), _Handler)
        self._front.target = self._target
        self._port = self._front.server_address[1]
        threading.Thread(target=self._front.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def off(self) -> None:
        self._front.shutdown()
        self._front.server_close()


@pytest.fixture
def switch(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Switch]:
    """MLflow, and an empty cache."""
    found = Switch(services.env["MLFLOW_TRACKING_URI"])
    monkeypatch.setenv("TINYUNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", found.url)
    yield found
    found.off()


@pytest.fixture
def name(services: Services) -> str:
    """A registered model without versions."""
    client = mlflow.MlflowClient(*[services.env["MLFLOW_TRACKING_URI"]] * 2)
    found = f"followed-{secrets.token_hex(4)}"
    client.create_registered_model(found)
    return found


@pytest.fixture
def register(services: Services, name: str) -> Register:
    """Registers an engine folder as the new champion; returns the number of the version."""
    return lambda folder: register_engine(services.env["MLFLOW_TRACKING_URI"], name, folder)


def register_engine(uri: str, name: str, folder: Path) -> str:
    mlflow.set_tracking_uri(uri)  # the registry of a database looks there for the model of a version
    mlflow.set_registry_uri(uri)
    client = mlflow.MlflowClient(uri)
    model = client.create_logged_model(
        client.create_experiment(f"{name}-{secrets.token_hex(3)}"), name="model"
    )
    parent = folder.with_name(f"{folder.name}-logged")
    shutil.copytree(folder, parent / ENGINE_FOLDER)
    client.log_model_artifacts(model.model_id, str(parent))
    client.finalize_logged_model(model.model_id, "READY")
    source = f"models:/{model.model_id}"
    version = client.create_model_version(name, source, model_id=model.model_id).version
    client.set_registered_model_alias(name, "champion", version)
    return str(version)


def engine(folder: Path, offset: float = -40.0, **values: object) -> Path:
    """Write an engine whose score of IMAGE is `offset` + 25."""
    return write_engine(folder, bright_spot_network(offset=offset), **values)


def spoiled(folder: Path) -> Path:
    """Change the answer that the example must give."""
    document = ServedModel.read(folder)
    example = document.example.model_copy(update={"score": document.example.score + 1.0})
    document.model_copy(update={"example": example}).write(folder)
    return folder


def started(name: str) -> tuple[Served, Path]:
    """Load a champion as a server does that starts; in float32, whose scores are exact to a few digits."""
    return load_first(f"models:/{name}@champion", precision="float32")


def followed(name: str, **options: object) -> tuple[CurrentModel, Follower]:
    current = CurrentModel(started(name)[0])
    return current, Follower(f"models:/{name}@champion", current, precision="float32", **options)


def lines(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if word in record.getMessage()]


def test_answers_name_the_version_that_gave_them_while_the_champion_moves_three_times(
    switch: Switch, name: str, register: Register, tmp_path: Path
) -> None:
    register(engine(tmp_path / "1"))
    current, follower = followed(name, poll_s=0.05)
    answers: set[tuple[str, int]] = set()
    stop, errors = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            served = current.active
            try:
                answers.add((served.version, round(served.engine.inspect([IMAGE])[0].score)))
                time.sleep(0.005)
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    follower.start()
    try:
        for number in (2, 3, 4):
            assert register(engine(tmp_path / str(number), -41.0 - number)) == str(number)
            wait_for(lambda number=number: str(number) in {version for version, _ in tuple(answers)})
    finally:
        stop.set()
        follower.stop()
        for thread in threads:
            thread.join()
    assert errors == []
    assert answers == {("1", -15), ("2", -18), ("3", -19), ("4", -20)}
    assert current.previous.version == "3"


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_version_that_fails_its_self_check_is_refused_once_and_the_next_one_is_taken(
    switch: Switch, name: str, register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register(engine(tmp_path / "1"))
    refused, swapped = [], []
    current, follower = followed(
        name,
        refused=lambda: refused.append(1),
        swapped=lambda served, folder: swapped.append((served, folder)),
    )
    register(spoiled(engine(tmp_path / "2", -50.0)))
    for _ in range(3):
        follower.look()
    assert (current.active.version, len(refused), swapped) == ("1", 1, [])
    (line,) = lines(caplog, "is refused")
    assert line.startswith(f"version 2 of {name} is refused, version 1 stays: ")

    register(engine(tmp_path / "3", -51.0))
    caplog.set_level(logging.INFO)
    follower.look()
    ((served, folder),) = swapped
    assert served is current.active
    assert (served.version, round(served.engine.inspect([IMAGE])[0].score)) == ("3", -26)
    assert (folder / ServedModel.FILE).is_file()
    assert lines(caplog, "replaces") == [f"version 3 of {name} replaces version 1; it computes in float32"]


def test_a_restart_with_a_broken_champion_serves_the_last_version_that_was_taken(
    switch: Switch, name: str, register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register(engine(tmp_path / "1"))
    started(name)
    register(spoiled(engine(tmp_path / "2", -50.0)))
    served, _ = started(name)
    assert served.version == "1"
    assert lines(caplog, f"version 1 of {name} from the local cache is served")


def test_a_network_with_another_digest_is_not_taken_and_is_reported_once(
    switch: Switch, name: str, register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register(engine(tmp_path / "1"))
    failed: list[int] = []
    current, follower = followed(name, failed=lambda: failed.append(1))
    damaged = engine(tmp_path / "2", -50.0)
    (damaged / "network.onnx").write_bytes(b"damaged")
    register(damaged)
    follower.look()
    follower.look()
    assert (current.active.version, len(failed)) == ("1", 2)
    (line,) = lines(caplog, "SHA-256")
    assert line.startswith("version 2 of models:/")


def test_mlflow_that_is_down_changes_nothing_and_is_reported_at_its_start_and_its_end(
    switch: Switch, name: str, register: Register, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    register(engine(tmp_path / "1"))
    current, follower = followed(name)
    caplog.set_level(logging.INFO)
    switch.off()
    for _ in range(3):
        follower.look()
    (line,) = lines(caplog, "cannot be read")
    assert "does not answer" in line
    assert "version 1 stays" in line
    assert round(current.active.engine.inspect([IMAGE])[0].score) == -15

    switch.on()
    register(engine(tmp_path / "2", -50.0))
    follower.look()
    follower.look()
    assert current.active.version == "2"
    assert len(lines(caplog, "can be read again")) == 1


def test_a_restart_without_mlflow_finds_the_last_version_on_this_machine(
    switch: Switch, name: str, register: Register, tmp_path: Path
) -> None:
    register(engine(tmp_path / "1"))
    _, follower = followed(name)
    register(engine(tmp_path / "2", -50.0))
    follower.look()
    switch.off()
    served, folder = started(name)
    assert (served.name, served.version) == (name, "2")
    assert round(served.engine.inspect([IMAGE])[0].score) == -25
    shutil.rmtree(folder)
    with pytest.raises(Unreachable, match="does not answer"):
        started(name)


def test_a_pinned_version_is_served_although_the_champion_is_another_one(
    switch: Switch, name: str, register: Register, tmp_path: Path
) -> None:
    register(engine(tmp_path / "1"))
    register(engine(tmp_path / "2", -50.0))
    uri = pinned(f"models:/{name}@champion", "1")
    served, _ = load_first(uri, precision="float32")
    assert served.version == "1"
    with pytest.raises(UserError, match="has no alias to follow"):
        Follower(uri, CurrentModel(served))


def test_an_alias_in_a_database_is_followed_too(
    empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("TINYUNET_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    client.create_registered_model("local")
    register_engine(uri, "local", engine(tmp_path / "1"))
    current, follower = followed("local")
    follower.look()
    assert current.active.version == "1"
    register_engine(uri, "local", engine(tmp_path / "2", -50.0))
    follower.look()
    assert (current.active.version, round(current.active.engine.inspect([IMAGE])[0].score)) == ("2", -25)
