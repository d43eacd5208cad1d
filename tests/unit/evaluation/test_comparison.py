"""Several classes in one table: what NVIDIA's columns are computed from, and which rows may be compared."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tinyunet.cli.main import parse
from tinyunet.core.errors import UserError
from tinyunet.evaluation.comparison import Row, Scores, compare, means, notice, read_row, table
from tinyunet.evaluation.report_links import link_reports
from tinyunet.evaluation.published import AMP, FLOAT32, published

SCORES = {"dice_defective": 0.8, "iou_defective": 0.7, "image_ap": 1.0, "image_auroc": 1.0, "tpr": 1.0}
# Largest logits: log(0.99 / 0.01) is 4.595, log(0.75 / 0.25) is 1.099.
IMAGES = [(True, 4.6), (True, 4.5), (True, 1.0), (True, 9.9), (False, 4.5), (False, 0.0)]


def evaluation(
    folder: Path, class_id: int, *, complete: bool = True, synthetic: bool = False, **changes: Any
) -> Path:
    size = changes.pop("image_size", 512)
    content = {
        "schema_version": 1,
        "data": {"class_id": class_id, "complete": complete, "synthetic": synthetic},
        "image_size": size,
        "comparable": complete and not synthetic and size == 512,
        "image_score": "max",
        "test": {
            **SCORES,
            "tnr": 0.5,
            "nvidia_iou": {"0.75": 0.91, "0.85": 0.92, "0.95": 0.93, "0.99": 0.94},
            "nvidia_iou_floor": 0.877,
        },
        "images": [{"defective": defective, "score": score} for defective, score in IMAGES],
    }
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(content | changes))
    return folder


def test_ours_at_nvidias_thresholds_are_counted_from_the_largest_logits(tmp_path: Path) -> None:
    row = read_row(evaluation(tmp_path / "e", 1))
    assert row.at == {
        0.75: Scores(0.91, 3 / 4, 1 / 2),
        0.85: Scores(0.92, 3 / 4, 1 / 2),
        0.95: Scores(0.93, 3 / 4, 1 / 2),
        0.99: Scores(0.94, 2 / 4, 2 / 2),
    }
    images = [{"defective": True, "score": math.log(0.99 / (1 - 0.99))}]
    edge = read_row(evaluation(tmp_path / "edge", 1, images=images))
    assert edge.at[0.99].tpr == 0, "a logit equal to the threshold's is not above it"


def test_theirs_are_those_of_the_class(tmp_path: Path) -> None:
    row = read_row(evaluation(tmp_path / "e", 9))
    iou, tpr, tnr = AMP[9][3]
    assert row.amp[0.99] == Scores(iou, pytest.approx(tpr / 100), pytest.approx(tnr / 100))
    assert row.float32[0.75].iou == FLOAT32[9][0][0]
    assert row.dice == tuple(published(9)[kind]["dice_defective"][3] for kind in ("float32", "amp"))


def test_another_image_score_has_no_rates_at_a_pixels_threshold(tmp_path: Path) -> None:
    row = read_row(evaluation(tmp_path / "e", 1, image_score="top100"))
    assert row.at[0.99] == Scores(0.94, None, None)
    assert "–" in "\n".join(table([row]))


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    folders = [
        evaluation(tmp_path / "c", 10, complete=False, synthetic=True),
        evaluation(tmp_path / "a", 1),
        evaluation(tmp_path / "b", 2, complete=False, image_size=128, test=_worse()),
    ]
    return compare(folders, tmp_path / "out")


def _worse() -> dict[str, Any]:
    ious = dict.fromkeys(("0.75", "0.85", "0.95", "0.99"), 0.5)
    return {
        **SCORES, "dice_defective": 0.5, "tnr": None, "nvidia_iou": ious, "nvidia_iou_floor": 0.877
    }  # fmt: skip


def test_rows_come_in_the_order_of_the_classes_and_say_what_their_data_are(rows: list[Row]) -> None:
    assert [(row.class_id, row.data, row.comparable) for row in rows] == [
        (1, "official", True),
        (2, "part or re-split", False),
        (10, "synthetic", False),
    ]


def test_the_notice_names_every_class_that_may_not_be_compared(rows: list[Row]) -> None:
    assert notice(rows) == (
        "Official data at 512×512, comparable with NVIDIA's: class 1. Not comparable, NVIDIA's numbers for "
        "orientation only: class 2 (part or re-split, 128 px); class 10 (synthetic, 512 px)."
    )
    assert notice(rows[:1]) == "Official data at 512×512, comparable with NVIDIA's: class 1."


def test_means_are_over_classes_and_missing_where_one_is(rows: list[Row]) -> None:
    found = means(rows)
    assert found["dice_defective"] == pytest.approx((0.8 + 0.5 + 0.8) / 3)
    assert found["nvidia_iou_0.99"] == pytest.approx((0.94 + 0.5 + 0.94) / 3)
    assert found["tnr"] is None


def test_the_table_has_a_line_per_class_a_mean_and_a_mean_of_the_comparable(rows: list[Row]) -> None:
    lines = list(table(rows))
    assert [line.split("  ")[0].strip() for line in lines[2:-1]] == [
        "1", "2", "10", "mean (3)", "mean, comparable (1)",
    ]  # fmt: skip
    assert "0.940 (0.967)" in lines[2]
    assert "0.793 (0.975)" in lines[5]
    assert "0.940 (0.967)" in lines[6]
    assert lines[-1] == notice(rows)
    assert [line.split("  ")[0] for line in list(table(rows[:1]))[2:-1]] == ["1", "mean (1)"]


def test_page_and_json_hold_the_table(rows: list[Row], tmp_path: Path) -> None:
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert notice(rows).replace("'", "&#39;") in page
    assert "NVIDIA's table at 0.85" in page
    assert "mean, comparable" in page
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert [row["class_id"] for row in content["rows"]] == [1, 2, 10]
    assert content["rows"][0]["at"]["0.99"] == {"iou": 0.94, "tpr": 0.5, "tnr": 1.0}


def test_a_class_links_to_its_report_only_where_that_lies_beside_the_table(tmp_path: Path) -> None:
    folders = [evaluation(tmp_path / name, class_id) for name, class_id in (("a", 1), ("b", 10))]
    (folders[1] / "report.html").write_text("that of class 10")
    compare(folders, tmp_path / "alone")
    alone = (tmp_path / "alone" / "comparison.html").read_text()
    assert re.findall('href="([^"]+)"', alone) == ["data:,"]
    assert not list((tmp_path / "alone").glob("report*"))
    compare(folders, tmp_path / "out", reports=True)
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert set(re.findall('href="([^"]+)"', page)) == {"data:,", "report-class10.html"}
    assert (tmp_path / "out" / "report-class10.html").read_text() == "that of class 10"
    assert link_reports(alone, tmp_path / "out") == page


def test_the_command_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = parse(["compare", str(evaluation(tmp_path / "a", 7)), "--out", str(tmp_path / "out")])
    arguments.run(arguments)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2] == "Official data at 512×512, comparable with NVIDIA's: class 7."
    assert printed[-1].startswith(str(tmp_path / "out" / "comparison.html"))


def test_what_is_no_evaluation_or_a_class_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere holds no metrics\.json; expected a folder that"):
        compare([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(UserError, match="there is nothing to compare"):
        compare([], tmp_path / "out")
    with pytest.raises(UserError, match="has another schema; expected version 1"):
        compare([evaluation(tmp_path / "old", 4, schema_version=0)], tmp_path / "out")
    twice = [evaluation(tmp_path / name, 4) for name in ("a", "b")]
    with pytest.raises(UserError, match="class 4 is given twice"):
        compare(twice, tmp_path / "out")
    assert not (tmp_path / "out").exists()
