"""The model that is served when none is named."""

import os
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.server.newest import newest_model


def folder(path: Path, age: int) -> Path:
    path.mkdir(parents=True)
    (path / "model.json").write_text("{}")
    os.utime(path / "model.json", (1_000_000 - age, 1_000_000 - age))
    return path


def test_the_newest_model_folder_is_taken_without_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    folder(tmp_path / "runs" / "2" / "model", age=50)
    newest = folder(tmp_path / "runs" / "1" / "deep" / "model", age=5)
    assert newest_model(tmp_path / "runs") == str(newest)
    assert not (tmp_path / "none.db").exists()


def test_the_champion_that_was_registered_last_comes_before_folders(database: Path, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{database}"
    client = MlflowClient(uri, registry_uri=uri)
    for name in ("part-7", "part-8", "part-9"):
        client.create_registered_model(name)
        client.create_model_version(name, source="s3://models/part")
        if name != "part-9":
            client.set_registered_model_alias(name, "champion", "1")
    folder(tmp_path / "runs" / "model", age=0)
    assert newest_model(tmp_path / "runs") == "models:/part-8@champion"


def test_nothing_to_serve_is_one_line_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(UserError, match=r"no model is given, .* make run trains one"):
        newest_model(tmp_path / "runs")
