"""A database of MLflow, which is created once because MLflow needs seconds for its tables."""

import shutil
from pathlib import Path

import mlflow
import pytest


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def database(empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new database of MLflow, to which MLFLOW_TRACKING_URI is set."""
    database = shutil.copy(empty_database, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return Path(database)
