"""The operating point of a model comes from the newest evaluation of its weights."""

from pathlib import Path

import pytest

from tests.unit.examples import evaluated_model, scores
from tests.unit.examples import evaluation as example
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.serving.operating_point import OperatingPoint, choose_operating_point, find_evaluation


def write_evaluation(folder: Path, sha256: str, threshold: float, **changes: object) -> None:
    test = scores(image_threshold=2.36)
    example(model=evaluated_model(sha256=sha256), threshold=threshold, test=test, **changes).write(folder)


def find_operating_point(folder: Path, sha256: str) -> OperatingPoint:
    return choose_operating_point(find_evaluation(folder, sha256), folder)


def test_thresholds_come_from_an_evaluation_of_the_same_weights(
    model: Path, evaluation: Path, tmp_path: Path
) -> None:
    result = Evaluation.read(evaluation)
    sha256 = result.model.sha256
    expected = OperatingPoint(result.threshold, result.test.image_threshold, "max")
    assert find_operating_point(model, sha256) == expected
    assert find_operating_point(model, "0" * 64) == OperatingPoint(0.5, 0.0, "max")
    elsewhere = tmp_path / "elsewhere" / "model"  # its neighbours are this test's own
    elsewhere.mkdir(parents=True)
    assert find_operating_point(elsewhere, sha256) == OperatingPoint()


def test_the_default_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    assert find_operating_point(tmp_path / "model", "a" * 64) == OperatingPoint()
    assert capsys.readouterr().err == (
        f"thresholds 0.5 and 0, the default: no evaluation of this model beside {tmp_path / 'model'}; "
        "create one: tinyunet evaluate\n"
    )


def test_the_newest_evaluation_is_used_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    write_evaluation(tmp_path / "b", "a" * 64, 0.2, evaluated_at="2026-02-01T00:00:00+00:00")
    write_evaluation(tmp_path / "a", "a" * 64, 0.1, evaluated_at="2026-01-01T00:00:00+00:00")
    write_evaluation(tmp_path / "c", "c" * 64, 0.3, evaluated_at="2026-03-01T00:00:00+00:00")
    assert find_operating_point(tmp_path / "model", "a" * 64).threshold == 0.2
    assert capsys.readouterr().err == f"thresholds 0.2 and 2.36 from {tmp_path / 'b'}\n"


def test_the_time_of_the_file_is_used_where_the_evaluation_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    write_evaluation(tmp_path / "b", "a" * 64, 0.2, evaluated_at="2026-02-01T00:00:00+00:00")
    write_evaluation(tmp_path / "d", "a" * 64, 0.163, test_time_poses=8, evaluated_at="")
    expected = OperatingPoint(0.163, 2.36, "max", 8)
    assert find_operating_point(tmp_path / "model", "a" * 64) == expected
    assert "0.163 and 2.36 over 8 poses from" in capsys.readouterr().err


def test_the_evaluation_of_a_pipeline_run_is_found_from_its_model(tmp_path: Path) -> None:
    (tmp_path / "train" / "model").mkdir(parents=True)
    write_evaluation(tmp_path / "evaluate" / "evaluation", "a" * 64, 0.2)
    assert find_operating_point(tmp_path / "train" / "model", "a" * 64).threshold == 0.2


@pytest.mark.parametrize("content", ['{"model": "resnet50"}', "[1]", "no JSON", '{"model": {}}'])
def test_a_metrics_file_of_another_program_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text(content)
    write_evaluation(tmp_path / "zz", "a" * 64, 0.2)
    assert find_operating_point(tmp_path / "model", "a" * 64).threshold == 0.2


def test_a_damaged_evaluation_of_the_same_weights_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_evaluation(tmp_path, "b" * 64, 0.4)
    file = tmp_path / "metrics.json"
    file.write_text(file.read_text().replace('"threshold": 0.4', '"threshold": "high"'))
    assert find_operating_point(tmp_path, "b" * 64) == OperatingPoint()
    assert "warning: " in (text := capsys.readouterr().err)
    assert "threshold is 'high'; expected a float" in text
