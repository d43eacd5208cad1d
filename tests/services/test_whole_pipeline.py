"""The complete local pipeline with real MinIO and MLflow servers, and a prediction by its champion."""

import csv
import os
import subprocess
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import Services
from tests.services.conftest import upload
from tinyunet.storage import s3

ROOT = Path(__file__).parents[2]
NAME = "whole-pipeline"


def run(line: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.usefixtures("eager_processes")
def test_a_pipeline_run_from_s3_registers_a_champion_that_predicts(
    class1: Path, raw: Path, prefix: str, services: Services, tmp_path: Path, python: str
) -> None:
    for part in ("Train", "Test"):
        upload(class1 / part, f"{prefix}/dagm/Class1/{part}")
    options = ["--steps", "4", "--image-size", "32", "--model-name", NAME, "--set", "global_batch=4"]
    line = [python, "-m", "pipeline.run_local", "--source", f"{prefix}/dagm", *options]
    result = run(line, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not (tmp_path / "runs" / "mlflow.db").exists(), "the server stores the runs"

    server = services.env["MLFLOW_TRACKING_URI"]
    client = MlflowClient(server, registry_uri=server)
    champion = client.get_model_version_by_alias(NAME, "champion")
    run_of_champion = client.get_run(champion.run_id)
    assert run_of_champion.info.status == "FINISHED"
    assert run_of_champion.data.params["steps"] == "4"
    assert {"test_dice_defective", "loss", "validation_dice"} <= run_of_champion.data.metrics.keys()
    assert {"git_revision", "lock_digest", "data_digest"} <= run_of_champion.data.tags.keys()
    objects = s3.list_objects("s3://mlflow")
    assert any("report.html" in key for key in objects), "MLflow's artifacts are in MinIO"

    images = sorted((raw / "images" / "test").glob("*.png"))[:3]
    line = [python, "-m", "tinyunet", "predict", *map(str, images), "--out", "predictions"]
    result = run([*line, "--model", f"models:/{NAME}@champion"], tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    with (tmp_path / "predictions" / "predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 3
