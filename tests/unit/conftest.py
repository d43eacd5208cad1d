"""A database of MLflow for each test that asks for one."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def database(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new database of MLflow, to which MLFLOW_TRACKING_URI is set."""
    database = shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return Path(database)
