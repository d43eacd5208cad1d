"""Every test here talks to the session's real MinIO and MLflow server."""

import secrets
from pathlib import Path

import pytest

from tests.conftest import Services


@pytest.fixture(autouse=True)
def environment(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_NAME", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TINYUNET_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def prefix() -> str:
    """An S3 location that no other test uses."""
    return f"s3://tinyunet/{secrets.token_hex(6)}"
