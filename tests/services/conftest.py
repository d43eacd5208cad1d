"""The tests of this folder use the session's real MinIO and MLflow servers."""

import secrets
from pathlib import Path

import pytest

from tests.conftest import Services
from tinyunet.storage import s3


@pytest.fixture(autouse=True)
def environment(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def prefix() -> str:
    """An S3 location that no other test uses."""
    return f"s3://tinyunet/{secrets.token_hex(6)}"


def upload(folder: Path, uri: str) -> None:
    """Upload every file of a folder and of its subfolders below a prefix."""
    for path in filter(Path.is_file, folder.rglob("*")):
        s3.push(path, f"{uri}/{path.relative_to(folder).as_posix()}")
