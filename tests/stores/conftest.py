"""One object store after the other; STORES names them: minio, seaweedfs, moto (default: minio)."""

import os
import secrets
from collections.abc import Iterator

import pytest

from tests.servers import forget_network
from tests.stores.servers import running
from tinyunet.storage import s3

STORES = os.environ.get("STORES", "minio").split()
BUCKET = "conformance"


@pytest.fixture(scope="session", params=STORES)
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A running store: the environment variables of its clients, and its name under `NAME`."""
    with running(request.param, tmp_path_factory.mktemp(request.param)) as env:
        yield {**env, "NAME": request.param}


@pytest.fixture(autouse=True)
def environment(store: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    forget_network(monkeypatch)
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in store.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def prefix(environment: None) -> str:
    """A location in the bucket that no other test uses."""
    s3.make_bucket(BUCKET)
    return f"s3://{BUCKET}/{secrets.token_hex(6)}"
