"""Real runs of the whole pipeline on this machine, and the errors of a local run."""

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import run_local as run_local_module
from pipeline.run_local import new_folder
from tests.pipeline.local_run import QUICK, TINY, run_local


@dataclass(frozen=True)
class FinishedRun:
    folder: Path
    output: str

    def task(self, name: str) -> Path:
        (task,) = self.folder.glob(f"tinyunet-*/{name}")
        return task

    def outputs(self, name: str) -> dict[str, Any]:
        return json.loads((self.task(name) / "executor_output.json").read_text())

    def metadata(self, name: str, artifact: str) -> dict[str, Any]:
        return self.outputs(name)["artifacts"][artifact]["artifacts"][0]["metadata"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """One run of all five steps with two Horovod ranks, on 24 + 16 images of 32×32 pixels."""
    folder = tmp_path_factory.mktemp("finished")
    result = run_local(folder, *QUICK, "--ranks", "2")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert result.stderr == ""
    return FinishedRun((folder / "runs" / "latest").resolve(), result.stdout)


@pytest.fixture(scope="module")
def mlflow_run(finished: FinishedRun) -> Any:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{finished.folder.parent / 'mlflow.db'}")
    return client.get_run(finished.metadata("train", "model")["mlflow_run_id"])


def test_the_closing_lines_contain_scores_decision_and_paths(finished: FinishedRun) -> None:
    tail = finished.output[finished.output.rindex("Test ") :]
    scores = json.loads((finished.task("evaluate") / "evaluation" / "metrics.json").read_text())
    assert scores["comparability"] in tail
    assert f"Dice {scores['test']['dice_defective']:.3f}" in tail
    assert "\nModel    tinyunet-dagm-class1 version 1 is champion" in tail
    for page in ("report.html", "data.html"):
        assert str(finished.folder.parent / "latest" / page) in tail
        assert (finished.folder / page).is_file()
    assert "make ui" in tail
    assert "ingest" in tail.splitlines()[-1]
    assert "in total" in tail.splitlines()[-1]


def test_nothing_is_written_outside_runs(finished: FinishedRun) -> None:
    assert [path.name for path in finished.folder.parent.parent.iterdir()] == ["runs"]


def test_lines_of_kfp_are_only_in_the_log(finished: FinishedRun) -> None:
    assert "KFP Executor" not in finished.output
    assert "KFP Executor" in (finished.folder / "run.log").read_text()
    assert [line[:5] for line in finished.output.splitlines() if line.startswith("[")] == [
        f"[{number}/5]" for number in range(1, 6)
    ]


def test_training_prints_its_progress(finished: FinishedRun) -> None:
    assert "step 6/6" in finished.output
    assert "img/s" in finished.output


def test_the_report_is_one_offline_page(finished: FinishedRun) -> None:
    page = (finished.folder / "report.html").read_text()
    assert page == (finished.task("evaluate") / "report").read_text()
    assert 'src="http' not in page


def test_every_step_writes_its_artifacts(finished: FinishedRun) -> None:
    assert (finished.task("ingest") / "raw" / "dataset.json").is_file()
    assert "<html" in (finished.task("ingest") / "report").read_text()
    assert (finished.task("convert") / "records" / "manifest.json").is_file()
    assert (finished.task("train") / "model" / "model.keras").is_file()
    assert "# " in (finished.task("evaluate") / "card").read_text()


def test_metrics_reach_the_dashboard_as_numbers(finished: FinishedRun) -> None:
    scores = json.loads((finished.task("evaluate") / "evaluation" / "metrics.json").read_text())
    metrics = finished.metadata("evaluate", "metrics")
    assert metrics["dice_defective"] == scores["test"]["dice_defective"]
    assert metrics["threshold"] == scores["threshold"]
    assert finished.metadata("convert", "sizes")["test_images"] == 16
    assert finished.metadata("train", "metrics")["images_per_s"] > 0
    assert finished.metadata("register", "decision") == {"version": 1, "champion": 1}


def test_the_roc_curve_and_confusion_matrix_reach_the_dashboard(finished: FinishedRun) -> None:
    roc = finished.metadata("evaluate", "roc")
    assert roc["confidenceMetrics"][-1]["recall"] == 1.0
    assert len(roc["confidenceMetrics"]) >= 2
    assert sum(sum(row["row"]) for row in roc["confusionMatrix"]["rows"]) == 16
    assert sum(roc["confusionMatrix"]["rows"][1]["row"]) == 5


def test_mlflow_has_one_finished_run_of_two_ranks(finished: FinishedRun, mlflow_run: Any) -> None:
    assert mlflow_run.info.status == "FINISHED"
    assert mlflow_run.data.params["global_batch"] == "4"
    assert "validation_dice" in mlflow_run.data.metrics
    model = json.loads((finished.task("train") / "model" / "model.json").read_text())
    assert model["world_size"] == 2
    assert model["mlflow"]["run_id"] == mlflow_run.info.run_id


def test_the_registered_version_is_the_champion(finished: FinishedRun) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{finished.folder.parent / 'mlflow.db'}"
    client = MlflowClient(uri, registry_uri=uri)
    (registered,) = client.search_registered_models()
    assert {alias: int(version) for alias, version in registered.aliases.items()} == {"champion": 1}


@pytest.mark.usefixtures("eager_processes")
def test_a_run_of_all_categories_writes_one_table_and_registers_one_model_per_category(
    folder: Path, python: str
) -> None:
    from mlflow import MlflowClient

    write_categories(folder / "parts")
    own = ("--source", "parts", "--category", "all", "--patch", "32", "--steps", "6")
    result = run_local(folder, *own, *QUICK[len(TINY) :], python=python)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    headlines = [line for line in result.stdout.splitlines() if line.startswith("[")]
    assert headlines[0] == "[1/11] ingest of bolt"
    assert headlines[7:] == [
        "[8/11] train of nut",
        "[9/11] evaluate of nut",
        "[10/11] register of nut",
        "[11/11] compare",
    ]
    assert re.search(r"\n *bolt +own +any .*\n *nut +own +any .*\n *mean \(2\) ", result.stdout)
    assert re.search(r"\nnut +tinyunet-parts-nut version 1 is champion", result.stdout)
    latest = folder / "runs" / "latest"
    assert sorted(path.name for path in latest.glob("*.html")) == [
        "report-bolt.html", "report-nut.html", "report.html",
    ]  # fmt: skip
    page = (latest / "report.html").read_text()
    assert "TinyUNet by category" in page
    assert set(re.findall(r'href="([^"]+\.html)"', page)) == {"report-bolt.html", "report-nut.html"}
    uri = f"sqlite:///{folder / 'runs' / 'mlflow.db'}"
    client = MlflowClient(uri, registry_uri=uri)
    assert sorted(model.name for model in client.search_registered_models()) == [
        "tinyunet-parts-bolt",
        "tinyunet-parts-nut",
    ]


def write_categories(folder: Path) -> None:
    """Write the categories bolt and nut as in MVTec AD: 12 good parts of 40×48 pixels and 8 dents each."""
    rng = np.random.default_rng(0)
    for category in ("bolt", "nut"):
        for number in range(20):
            image, mask = rng.integers(90, 130, (40, 48), np.uint8), np.zeros((40, 48), np.uint8)
            name = f"train/good/{number}" if number < 12 else f"test/dent/{number}"
            pictures = {f"{name}.png": image}
            if number >= 12:
                image[number : number + 9, number : number + 9] += 80
                mask[number : number + 9, number : number + 9] = 255
                pictures[f"ground_truth/dent/{number}_mask.png"] = mask
            for path, pixels in pictures.items():
                (folder / category / path).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / category / path)


def test_ctrl_c_before_the_first_step_prints_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_local_module, "check_local_run", interrupt)
    assert run_local_module.main([]) == 130
    assert capsys.readouterr().err == "tinyunet: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_argument_prints_one_line_and_creates_no_file(tmp_path: Path) -> None:
    result = run_local(tmp_path, "--preset", "slow")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "tinyunet: error: unknown preset 'slow'; expected one of: fast, nvidia, thorough"
    ]
    assert list(tmp_path.iterdir()) == []


def test_runs_of_the_same_second_have_different_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "strftime", lambda form: "20260101-120000")
    names = [new_folder(tmp_path / "runs").name for _ in range(3)]
    assert names == ["20260101-120000", "20260101-120000-2", "20260101-120000-3"]


def test_the_error_of_a_failed_step_contains_its_reason_and_log(tmp_path: Path) -> None:
    (tmp_path / "spoiled" / "Class1" / "Train").mkdir(parents=True)
    (tmp_path / "spoiled" / "Class1" / "Train" / "0001.PNG").write_bytes(b"no image")
    result = run_local(tmp_path, "--source", "spoiled")
    assert result.returncode == 2
    assert "Traceback" not in result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("tinyunet: error: step ingest failed: ")
    assert str(tmp_path / "spoiled") in line
    (log,) = tmp_path.glob("runs/*/run.log")
    assert f"(whole log: {log})" in line
    assert "Traceback" in log.read_text()
