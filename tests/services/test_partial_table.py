"""The table of the categories of a run that have been evaluated, from a real object store."""

from pathlib import Path

import pytest

from tests.services.conftest import upload
from tests.unit.examples import evaluation
from tinyunet.evaluation.partial import table_so_far


def add(prefix: str, number: str, category: str, folder: Path) -> str:
    """Write an evaluation where `evaluate` of a run leaves it; return the URI that KFP gives to readers."""
    data = evaluation().data.model_copy(update={"category": category})
    evaluation(data=data).write(folder / number)
    upload(folder / number, f"{prefix}/evaluate/{number}/evaluation")
    return f"{prefix}/evaluate/{number}/evaluation".replace("s3://", "minio://")


def test_the_table_has_each_evaluated_category_of_the_run_once(
    prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(f"{prefix}/another-run", "a", "class9", tmp_path)
    add(f"{prefix}/run", "b", "class4", tmp_path)
    add(f"{prefix}/run", "c", "class4", tmp_path / "again")
    page = table_so_far(add(f"{prefix}/run", "d", "class2", tmp_path))
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:4]]
    assert rows == ["2", "4"]
    assert "Other categories of this run have failed or have not been evaluated yet" in page


def test_a_store_that_cannot_be_read_costs_only_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    assert table_so_far("minio://tinyunet/run/evaluate/1/evaluation") == ""
    assert "no table of the categories so far: " in capsys.readouterr().out


def test_on_one_machine_no_store_is_read() -> None:
    assert table_so_far("/runs/1/evaluate/evaluation") == ""
