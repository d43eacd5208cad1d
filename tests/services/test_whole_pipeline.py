"""The whole local pipeline against a real MinIO and MLflow server, then a prediction by its champion."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

from tests.conftest import Services
from tests.services.conftest import upload
from tinyunet.storage import s3

ROOT = Path(__file__).parents[2]
NAME = "whole-pipeline"


def run(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)


def test_images_on_s3_become_a_champion_on_the_server_that_predicts(
    raw: Path, prefix: str, services: Services, tmp_path: Path
) -> None:
    for part in ("Train", "Test"):
        upload(raw / part, f"{prefix}/dagm/Class1/{part}")
    options = ["--steps", "10", "--image-size", "64", "--model-name", NAME, "--set", "global_batch=4"]
    line = [sys.executable, "-m", "pipeline.run_local", "--source", f"{prefix}/dagm", *options]
    result = run(line, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not (tmp_path / "runs" / "mlflow.db").exists(), "the server keeps the runs"

    server = services.env["MLFLOW_TRACKING_URI"]
    client = MlflowClient(server, registry_uri=server)
    champion = client.get_model_version_by_alias(NAME, "champion")
    found = client.get_run(champion.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.params["steps"] == "10"
    assert {"test_dice_defective", "loss", "validation_dice"} <= found.data.metrics.keys()
    assert {"git_revision", "lock_digest", "data_digest"} <= found.data.tags.keys()
    held = s3.list_objects("s3://mlflow")
    assert any("report.html" in key for key in held), "MLflow's bytes are in MinIO"

    photos = sorted((raw / "Test").glob("*.PNG"))[:3]
    line = [sys.executable, "-m", "tinyunet", "predict", *map(str, photos), "--out", "predictions"]
    result = run([*line, "--model", f"models:/{NAME}@champion"], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    with (tmp_path / "predictions" / "predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
