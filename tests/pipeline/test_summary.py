"""What remains of a local run of several categories in which one failed."""

from pathlib import Path

from pipeline.summary import publish_table_of_finished
from tests.unit.examples import evaluation


def finish(run: Path, number: int, category: str) -> None:
    """Write what KFP and the steps leave of a category whose last step has finished."""
    steps = run / "tinyunet-classes-1" / f"for-loop-1-iteration-{number}"
    data = evaluation().data.model_copy(update={"category": category})
    evaluation(data=data).write(steps / "evaluate" / "evaluation")
    (steps / "register").mkdir()
    (steps / "register" / "executor_output.json").write_text("{}")


def test_the_table_has_the_finished_categories_and_names_the_missing_ones(tmp_path: Path) -> None:
    finish(tmp_path, 0, "class3")
    finish(tmp_path, 2, "class1")
    (tmp_path / "tinyunet-classes-1" / "for-loop-1-iteration-1" / "ingest").mkdir(parents=True)
    (tmp_path / "report-class3.html").write_text("the report of class 3")
    lines = publish_table_of_finished(tmp_path, ["class2", "class5"])
    assert [line.split()[0] for line in lines[2:4]] == ["1", "3"]
    assert lines[-2:] == [
        "Missing, because a step failed: class2, class5.",
        f"Report   {tmp_path / 'report.html'}",
    ]
    page = (tmp_path / "report.html").read_text()
    assert "Missing, because a step failed: class2, class5." in page
    assert 'href="report-class3.html"' in page


def test_without_a_finished_category_there_is_no_table(tmp_path: Path) -> None:
    assert publish_table_of_finished(tmp_path, ["class1"]) == []
    assert list(tmp_path.iterdir()) == []
