"""Every test here talks to the session's real MinIO and MLflow server."""

import secrets

import pytest

from tests.conftest import Services


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
