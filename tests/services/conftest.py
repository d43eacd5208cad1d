"""The tests of this folder use the session's real MinIO and MLflow servers."""

import os
import secrets
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Services
from tinyunet.core.documents.model import ModelDocument
from tinyunet.storage import s3

# A deterministic training that ends with the same weights for any number of ranks and after any interruption.
SETTINGS = (
    "steps=12",
    "image_size=32",
    "precision=float32",
    "global_batch=4",
    "learning_rate=0.002",
    "deterministic=true",
    "seed=5",
)


def train_command(python: str, records: object, out: object, *more: str) -> list[str]:
    """Return the command of a training with SETTINGS and more words."""
    settings = [part for s in SETTINGS for part in ("--set", s)]
    return [python, "-m", "tinyunet", "train", str(records), "--out", str(out), *settings, *more]


@pytest.fixture(scope="session")
def undisturbed(
    services: Services, records: Path, python: str, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The model folder of one training with SETTINGS, local records and a run on the MLflow server."""
    out = tmp_path_factory.mktemp("undisturbed") / "model"
    line, env = train_command(python, records, out), os.environ | services.env
    result = subprocess.run(
        line, cwd=out.parent, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture
def undisturbed_digest(undisturbed: Path) -> str:
    """The digest of the weights of `undisturbed`."""
    return ModelDocument.read(undisturbed).weights_digest


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
