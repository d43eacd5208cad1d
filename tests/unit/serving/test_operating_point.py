"""Which thresholds and poses a model is used at."""

import json
import shutil
from pathlib import Path

import pytest

from tinyunet.serving.operating_point import OperatingPoint, find_operating_point
from tinyunet.serving.predict import load_serving


def test_thresholds_come_from_an_evaluation_of_these_very_weights(
    model: Path, evaluation: Path, tmp_path: Path
) -> None:
    result = json.loads((evaluation / "metrics.json").read_text())
    found = find_operating_point(model, result["model"]["sha256"])
    assert found == OperatingPoint(result["threshold"], result["test"]["image_threshold"], "max")
    assert find_operating_point(model, "0" * 64) == OperatingPoint(0.5, 0.0, "max")
    assert find_operating_point(tmp_path, result["model"]["sha256"]) == OperatingPoint()


def _judgement(folder: Path, sha256: str, threshold: float, **more: object) -> None:
    folder.mkdir(parents=True)
    content = {"threshold": threshold, "test": {"image_threshold": 2.36}, "image_score": "max", **more}
    (folder / "metrics.json").write_text(json.dumps({"model": {"sha256": sha256}} | content))


def test_the_newest_evaluation_counts_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    assert find_operating_point(tmp_path / "model", "a" * 64) == OperatingPoint()
    lines = capsys.readouterr().err
    assert lines == (
        f"thresholds 0.5 and 0, a guess: no evaluation beside {tmp_path / 'model'}; "
        "make one: tinyunet evaluate\n"
    )
    _judgement(tmp_path / "b", "a" * 64, 0.2, evaluated_at="2026-02-01T00:00:00+00:00")
    _judgement(tmp_path / "a", "a" * 64, 0.1, evaluated_at="2026-01-01T00:00:00+00:00")
    _judgement(tmp_path / "c", "c" * 64, 0.3, evaluated_at="2026-03-01T00:00:00+00:00")
    assert find_operating_point(tmp_path / "model", "a" * 64).threshold == 0.2
    assert capsys.readouterr().err == f"thresholds 0.2 and 2.36 from {tmp_path / 'b'}\n"
    _judgement(tmp_path / "d", "a" * 64, 0.163, test_time_poses=8)  # without a date: its file's
    assert find_operating_point(tmp_path / "model", "a" * 64) == OperatingPoint(0.163, 2.36, "max", 8)
    assert "0.163 and 2.36 over 8 poses from" in capsys.readouterr().err


def test_the_model_of_a_pipelines_run_is_used_as_its_evaluate_step_judged_it(tmp_path: Path) -> None:
    (tmp_path / "train" / "model").mkdir(parents=True)
    _judgement(tmp_path / "evaluate" / "evaluation", "a" * 64, 0.2)
    assert find_operating_point(tmp_path / "train" / "model", "a" * 64).threshold == 0.2


@pytest.mark.parametrize("content", ['{"model": "resnet50"}', "[1]", "no JSON", '{"model": {}}'])
def test_metrics_of_another_program_are_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text(content)
    _judgement(tmp_path / "zz", "a" * 64, 0.2)
    assert find_operating_point(tmp_path / "model", "a" * 64).threshold == 0.2
