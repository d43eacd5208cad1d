"""Data made by an earlier version load and give the same results.

The data in tests/data/version-0.1.0 were made by commit 2e51bf3; the README.md there says how. The training
took 120 steps, the checkpoint is that of step 100. Each test gets a copy of the data.
"""

import csv
import json
import os
import shutil
import signal
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pytest

from tinyunet.cli.main import parse
from tinyunet.core.config import TrainConfig
from tinyunet.launch.local_checkpoints import checkpoint_folder
from tinyunet.studies.reproduce import configuration
from tinyunet.tracking.client import read_run

DATA = Path(__file__).parents[1] / "data" / "version-0.1.0"
NAME = "tinyunet-dagm-class1"
CHAMPION = f"models:/{NAME}@champion"
PREDICT = ["--precision", "float32"]  # that of the training and of the evaluation
RECIPE = ["--image-size", 32, "--steps", 120, "--set", "global_batch=8"]
# Where the earlier version kept the checkpoints of a pipeline run on one machine with this recipe.
LOCAL_CHECKPOINTS = "d6a0ab58a727-5fd9b074ae5f"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of raw, records, model, checkpoints, evaluation, mlflow.sql and mlartifacts."""
    folder = tmp_path_factory.mktemp("before") / "rooms"
    shutil.copytree(DATA, folder)
    for archive in sorted(folder.glob("*.tar.xz")):
        with tarfile.open(archive, "r:xz") as file:
            file.extractall(folder, filter="data")
    return folder


@pytest.fixture
def before(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the data in which a test may write; the registry is the MLflow of the test."""
    folder = shutil.copytree(unpacked, tmp_path / "before")
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.executescript((folder / "mlflow.sql").read_text().replace("@ROOT@", str(folder)))
    database.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv("TINYUNET_CACHE", str(tmp_path / "cache"))
    for name in ("MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(autouse=True)
def _same_signals() -> Iterator[None]:
    """Restore the signal handler that `tinyunet train` replaces."""
    handler = signal.getsignal(signal.SIGUSR2)
    yield
    signal.signal(signal.SIGUSR2, handler)


def run(*arguments: object) -> None:
    """Run a command of the command line in this process; fail if its exit code is not 0."""
    parsed = parse([str(argument) for argument in arguments])
    assert not parsed.run(parsed)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_judgement(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check that two contents of metrics.json say the same, up to the rounding of float32."""
    for part in ("model", "data"):
        values = expected[part] | {"dataset": "dagm", "category": f"class{expected[part]['class_id']}"}
        values = {key: value for key, value in values.items() if key not in ("class_id", "train")}
        assert {key: found[part][key] for key in values} == values
    recorded = expected["model"]["train"]
    assert {key: found["model"]["train"][key] for key in recorded} == recorded
    for key in ("schema_version", "image_size", "image_score", "test_time_poses", "comparable"):
        assert found[key] == expected[key]
    assert found["threshold"] == pytest.approx(expected["threshold"], abs=0.01)
    for split in ("validation", "test"):
        for key, value in expected[split].items():
            if isinstance(value, int | float):
                assert found[split][key] == pytest.approx(value, abs=0.01), (split, key)
    for one, other in zip(found["images"], expected["images"], strict=True):
        assert (one["name"], one["defective"]) == (other["name"], other["defective"])
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)


def assert_predictions_of(evaluation: dict[str, Any], out: Path) -> None:
    """Check that predictions.csv and the masks agree with the evaluation of the same model."""
    predicted = {row["name"]: row for row in rows(out / "predictions.csv")}
    assert len(predicted) == len(evaluation["images"])
    for image in evaluation["images"]:
        row = predicted[image["name"]]
        assert float(row["score"]) == pytest.approx(image["score"], abs=1e-3)
        assert row["defective"] == str(int(image["score"] > evaluation["test"]["image_threshold"]))
        assert abs(int(row["area"]) - image["tp"] - image["fp"]) <= 2
        assert (out / f"{image['name']}_mask.png").is_file()


def test_images_ingested_before_are_known_and_give_the_same_records(
    before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, expected = tmp_path / "images", read(before / "records" / "manifest.json")
    for name in ("Train", "Test"):
        shutil.copytree(before / "raw" / name, images / name)
    run("ingest", images, "--out", before / "raw")
    run("convert", before / "raw", "--out", before / "records", "--set", "shards=1")
    said = capsys.readouterr().err
    assert "already holds this data set" in said
    assert "already holds these records" in said
    run("convert", before / "raw", "--out", tmp_path / "records", "--set", "shards=1")
    found = read(tmp_path / "records" / "manifest.json")
    assert read(before / "records" / "manifest.json") == found, "it is written again in the present form"
    assert (found["dataset"], found["category"]) == ("dagm", f"class{expected.pop('class_id')}")
    for split in found["splits"].values():
        assert split.pop("types") == []
    assert {key: found[key] for key in expected} == expected


def test_a_model_trained_before_scores_as_before(before: Path, tmp_path: Path) -> None:
    run("evaluate", before / "model", before / "records", "--out", tmp_path / "evaluation")
    assert_same_judgement(
        read(tmp_path / "evaluation" / "metrics.json"), read(before / "evaluation" / "metrics.json")
    )


def test_a_model_trained_before_is_finished(before: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = (before / "model" / "model.json").read_bytes()
    run("train", before / "records", "--out", before / "model", *RECIPE)
    assert "already holds this model (120 steps); nothing to do" in capsys.readouterr().out
    assert (before / "model" / "model.json").read_bytes() == summary


def test_a_training_interrupted_before_is_resumed_in_its_run_and_ends_with_the_same_weights(
    before: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    run("train", before / "records", "--out", out, "--checkpoints", before / "checkpoints",
        "--run-key", "version-0.1.0", *RECIPE)  # fmt: skip
    found, expected = (read(folder / "model.json") for folder in (out, before / "model"))
    for key in ("schema_version", "data", "parameters", "precision"):
        assert found[key] == expected[key], key
    assert found["normalization"] == pytest.approx(expected["normalization"], rel=1e-12)  # sums of the CPU
    assert found["identity"] == expected["identity"] | {"patch": 0, "defect_patches": 0.5}
    assert found["mlflow"]["run_id"] == expected["mlflow"]["run_id"]
    mine, theirs = rows(out / "history.csv"), rows(before / "model" / "history.csv")
    assert mine[:100] == theirs[:100]  # these steps come from the checkpoint
    for one, other in zip(mine, theirs, strict=True):
        for key in ("step", "loss", "learning_rate"):
            assert float(one[key]) == pytest.approx(float(other[key]), rel=0.01)
    now, then = (keras.models.load_model(folder / "model.keras") for folder in (out, before / "model"))
    for one, other in zip(now.get_weights(), then.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


def test_the_checkpoints_of_a_pipeline_run_started_before_are_found(before: Path) -> None:
    summary = read(before / "model" / "model.json")
    folder = checkpoint_folder(TrainConfig(**summary["train"]), summary["data"]["digest"])
    assert folder.parts[-3:] == ("runs", "checkpoints", LOCAL_CHECKPOINTS)


def test_an_evaluation_made_before_gives_the_thresholds_of_its_model(
    before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("predict", before / "raw" / "Test", "--model", before / "model", *PREDICT, "--out", tmp_path / "out")
    assert f"from {before / 'evaluation'}" in capsys.readouterr().err
    assert_predictions_of(read(before / "evaluation" / "metrics.json"), tmp_path / "out")


def test_an_evaluation_made_before_is_compared(before: Path, tmp_path: Path) -> None:
    run("compare", before / "evaluation", "--out", tmp_path / "comparison")
    (row,) = read(tmp_path / "comparison" / "comparison.json")["rows"]
    scores = read(before / "evaluation" / "metrics.json")["test"]
    assert (row["category"], row["data"], row["image_size"]) == ("class1", "synthetic", 32)
    assert row["ours"] == {key: scores[key] for key in row["ours"]}


def test_the_champion_of_a_registry_made_before_predicts(before: Path, tmp_path: Path) -> None:
    run("predict", before / "raw" / "Test", "--model", CHAMPION, *PREDICT, "--out", tmp_path / "out")
    assert_predictions_of(read(before / "evaluation" / "metrics.json"), tmp_path / "out")


def test_a_run_tracked_before_says_the_recipe_of_its_model(before: Path) -> None:
    summary = read(before / "model" / "model.json")
    tracked = configuration(read_run(summary["mlflow"]["run_id"]))
    recipe = summary["train"] | {"precision": summary["precision"]}
    assert {key: getattr(tracked, key) for key in recipe} == recipe


def test_registering_the_champion_of_before_again_makes_no_version(
    before: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in (before / "model", CHAMPION):
        run("register", model, before / "evaluation")
        assert f"{NAME} version 1: version 1 is the champion already" in capsys.readouterr().out
    assert champion() == 1
    (training,) = (tmp_path / "cache" / "trainings").iterdir()  # downloaded from the registry
    for name in ("model.json", "model.keras", "history.csv"):
        assert (training / name).read_bytes() == (before / "model" / name).read_bytes()


@pytest.mark.parametrize(("more", "reason"), [
    (0.1, "version 2 replaces version 1 as champion: test Dice"),
    (-0.1, "version 1 stays champion, not version 2: Dice is not higher"),
])  # fmt: skip
def test_a_new_version_is_held_against_the_champion_of_before(
    before: Path, capsys: pytest.CaptureFixture[str], more: float, reason: str
) -> None:
    summary, metrics = before / "model" / "model.json", before / "evaluation" / "metrics.json"
    summary.write_text(json.dumps(read(summary) | {"weights_digest": "f" * 64, "mlflow": None}))
    changed = read(metrics)
    changed["test"]["dice_defective"] += more
    metrics.write_text(json.dumps(changed))
    run("register", before / "model", before / "evaluation")
    said = capsys.readouterr().out
    assert f"{NAME} version 2: {reason}" in said
    assert "same test images" in said
    assert champion() == (2 if more > 0 else 1)


def champion() -> int:
    """Return the version that is the champion."""
    client = mlflow.MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
    return int(client.get_model_version_by_alias(NAME, "champion").version)
