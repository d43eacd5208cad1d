"""Fixtures: a compiled pipeline and a fake of the Kubeflow Pipelines API."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_kfp import FakeKfp

from pipeline import compile as compiling
from pipeline import upload
from pipeline.pipeline import PIPELINES
from tinyunet.core.network import CA_VARIABLES


@pytest.fixture
def folder(empty_database: Path, tmp_path: Path) -> Path:
    """A working folder for local runs, with a database of MLflow as after an earlier run."""
    (tmp_path / "runs").mkdir()
    shutil.copy(empty_database, tmp_path / "runs" / "mlflow.db")
    return tmp_path


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    for pipeline in PIPELINES:
        compiling.compile_variant("cpu", folder, pipeline=pipeline)
    return folder


@pytest.fixture
def no_kubeflow(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any configuration of Kubeflow: no context file, no kubeconfig, no credentials."""
    monkeypatch.setattr(upload, "BUILD", build)
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    for name in (
        "KFP_TOKEN",
        "KFP_COOKIES",
        "KFP_CA_CERT",
        "KF_PIPELINES_ENDPOINT",
        "KUBERNETES_SERVICE_HOST",
        *CA_VARIABLES,
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kfp(no_kubeflow: None) -> Iterator[FakeKfp]:
    with FakeKfp().serving() as fake:
        yield fake
