"""Several classes in one table: NVIDIA's columns, and the rows that may be compared."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.examples import evaluation, image_result, scores
from tinyunet.cli.main import parse
from tinyunet.core.documents.comparison import ComparedCategory, NvidiaScores
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.errors import UserError
from tinyunet.evaluation.comparison import compare, means, notice, read_row, table
from tinyunet.evaluation.published import AMP, FLOAT32, published

NVIDIA_IOU = {"0.75": 0.91, "0.85": 0.92, "0.95": 0.93, "0.99": 0.94}
# Largest logits: log(0.99 / 0.01) is 4.595, log(0.75 / 0.25) is 1.099.
IMAGES = [(True, 4.6), (True, 4.5), (True, 1.0), (True, 9.9), (False, 4.5), (False, 0.0)]


def write_evaluation(
    folder: Path, class_id: int, *, complete: bool = True, synthetic: bool = False, **changes: Any
) -> Path:
    size = changes.pop("image_size", 512)
    data = evaluation().data.model_copy(
        update={"category": f"class{class_id}", "complete": complete, "synthetic": synthetic}
    )
    values = {
        "data": data,
        "image_size": size,
        "comparable": complete and not synthetic and size == 512,
        "test": scores(nvidia_iou=NVIDIA_IOU),
        "images": tuple(image_result(defective=d, score=score) for d, score in IMAGES),
    }
    evaluation(**(values | changes)).write(folder)
    return folder


def nvidia_scores(iou: float, tpr: float | None, tnr: float | None) -> NvidiaScores:
    return NvidiaScores(iou=iou, tpr=tpr, tnr=tnr)


def test_our_rates_at_nvidias_thresholds_are_counted_from_the_largest_logits(tmp_path: Path) -> None:
    row = read_row(write_evaluation(tmp_path / "evaluation", 1))
    assert row.at == {
        0.75: nvidia_scores(0.91, 3 / 4, 1 / 2),
        0.85: nvidia_scores(0.92, 3 / 4, 1 / 2),
        0.95: nvidia_scores(0.93, 3 / 4, 1 / 2),
        0.99: nvidia_scores(0.94, 2 / 4, 2 / 2),
    }


def test_a_logit_equal_to_the_threshold_is_not_above_it(tmp_path: Path) -> None:
    images = (image_result(defective=True, score=math.log(0.99 / (1 - 0.99))),)
    row = read_row(write_evaluation(tmp_path / "evaluation", 1, images=images))
    assert row.at[0.99].tpr == 0


def test_nvidias_scores_are_those_of_the_class(tmp_path: Path) -> None:
    row = read_row(write_evaluation(tmp_path / "evaluation", 9))
    iou, tpr, tnr = AMP[9][3]
    assert row.amp
    assert row.float32
    assert row.amp[0.99].iou == iou
    assert (row.amp[0.99].tpr, row.amp[0.99].tnr) == pytest.approx((tpr / 100, tnr / 100))
    assert row.float32[0.75].iou == FLOAT32[9][0][0]
    assert row.dice == (published(9).float32.dice_defective[3], published(9).amp.dice_defective[3])


def test_rates_are_undefined_for_an_image_score_other_than_the_largest_logit(tmp_path: Path) -> None:
    row = read_row(write_evaluation(tmp_path / "evaluation", 1, image_score="top100"))
    assert row.at[0.99] == nvidia_scores(0.94, None, None)
    assert "–" in "\n".join(table([row]))


@pytest.fixture
def rows(tmp_path: Path) -> list[ComparedCategory]:
    low_scores = scores(dice_defective=0.5, tnr=None, nvidia_iou=dict.fromkeys(NVIDIA_IOU, 0.5))
    folders = [
        write_evaluation(tmp_path / "c", 10, complete=False, synthetic=True),
        write_evaluation(tmp_path / "a", 1),
        write_evaluation(tmp_path / "b", 2, complete=False, image_size=128, test=low_scores),
    ]
    return list(compare(folders, tmp_path / "out").rows)


def test_rows_are_in_the_order_of_the_classes_and_name_the_kind_of_data(rows: list[ComparedCategory]) -> None:
    assert [(row.category, row.data, row.comparable) for row in rows] == [
        ("class1", "official", True),
        ("class2", "part or re-split", False),
        ("class10", "synthetic", False),
    ]


def test_the_notice_names_every_class_that_may_not_be_compared(rows: list[ComparedCategory]) -> None:
    assert notice(rows) == (
        "Official data at 512×512, comparable with NVIDIA's: class 1. Not comparable, NVIDIA's numbers for "
        "orientation only: class 2 (part or re-split, 128 px); class 10 (synthetic, 512 px)."
    )
    assert notice(rows[:1]) == "Official data at 512×512, comparable with NVIDIA's: class 1."


def test_means_are_over_classes_and_undefined_where_one_score_is(rows: list[ComparedCategory]) -> None:
    averages = means(rows)
    assert averages["dice_defective"] == pytest.approx((0.8 + 0.5 + 0.8) / 3)
    assert averages["nvidia_iou_0.99"] == pytest.approx((0.94 + 0.5 + 0.94) / 3)
    assert averages["tnr"] is None


def test_the_table_has_a_line_per_class_a_mean_and_a_mean_of_the_comparable_classes(
    rows: list[ComparedCategory],
) -> None:
    lines = list(table(rows))
    assert [line.split("  ")[0].strip() for line in lines[2:-1]] == [
        "1", "2", "10", "mean (3)", "mean, comparable (1)",
    ]  # fmt: skip
    assert "0.940 (0.967)" in lines[2]
    assert "0.793 (0.975)" in lines[5]
    assert "0.940 (0.967)" in lines[6]
    assert lines[-1] == notice(rows)
    assert [line.split("  ")[0] for line in list(table(rows[:1]))[2:-1]] == ["1", "mean (1)"]


def test_page_and_json_contain_the_table(rows: list[ComparedCategory], tmp_path: Path) -> None:
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert notice(rows).replace("'", "&#39;") in page
    assert "NVIDIA's table at 0.85" in page
    assert "mean, comparable" in page
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert list(content) == ["rows", "means", "notice"]
    assert [row["category"] for row in content["rows"]] == ["class1", "class2", "class10"]
    assert content["rows"][0]["at"]["0.99"] == {"iou": 0.94, "tpr": 0.5, "tnr": 1.0}


def test_reports_are_copied_and_linked_only_on_request(tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / name, class_id) for name, class_id in (("a", 1), ("b", 10))]
    (folders[1] / "report.html").write_text("report of class 10")
    compare(folders, tmp_path / "table")
    assert re.findall('href="([^"]+)"', (tmp_path / "table" / "comparison.html").read_text()) == ["data:,"]
    assert not list((tmp_path / "table").glob("report*"))
    compare(folders, tmp_path / "linked", reports=True)
    page = (tmp_path / "linked" / "comparison.html").read_text()
    assert set(re.findall('href="([^"]+)"', page)) == {"data:,", "report-class10.html"}
    assert (tmp_path / "linked" / "report-class10.html").read_text() == "report of class 10"


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = parse(["compare", str(write_evaluation(tmp_path / "a", 7)), "--out", str(tmp_path / "out")])
    arguments.run(arguments)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2] == "Official data at 512×512, comparable with NVIDIA's: class 7."
    assert printed[-1].startswith(str(tmp_path / "out" / "comparison.html"))


def test_an_empty_list_a_missing_evaluation_and_a_repeated_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing holds no metrics\.json; expected a folder that"):
        compare([tmp_path / "missing"], tmp_path / "out")
    with pytest.raises(UserError, match="there is nothing to compare"):
        compare([], tmp_path / "out")
    with pytest.raises(UserError, match="has schema 0, expected 1; evaluate the model again"):
        compare([write_evaluation(tmp_path / "old", 4, schema_version=0)], tmp_path / "out")
    twice = [write_evaluation(tmp_path / name, 4) for name in ("a", "b")]
    with pytest.raises(UserError, match="class 4 is given twice"):
        compare(twice, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_own_data_are_compared_without_nvidias_scores(tmp_path: Path) -> None:
    folders = []
    for category in ("cable", "bottle"):
        folder = write_evaluation(tmp_path / category, 1, complete=False)
        own = Evaluation.read(folder)
        data = own.data.model_copy(update={"dataset": "parts", "category": category})
        own.model_copy(update={"data": data}).write(folder)
        (folder / "report.html").write_text(category)
        folders.append(folder)
    result = compare(folders, tmp_path / "out", reports=True)
    assert [(row.category, row.data, row.amp) for row in result.rows] == [
        ("bottle", "own", None),
        ("cable", "own", None),
    ]
    assert result.notice == ""
    lines = "\n".join(table(result.rows))
    assert "bottle" in lines
    assert "NVIDIA" not in lines
    assert "(0.9" not in lines
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert 'href="report-bottle.html"' in page
    assert "NVIDIA" not in page
