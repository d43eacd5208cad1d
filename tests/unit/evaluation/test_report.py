import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tinyunet.cli.main import parse
from tinyunet.core.config import DataConfig, TrainConfig
from tinyunet.data.tfrecord import convert
from tinyunet.evaluation import curves, report
from tinyunet.evaluation.overlays import Panel
from tinyunet.evaluation.published import published

EVIL = "<script>alert(1)</script>\"'`"


@pytest.fixture
def result(evaluation: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((evaluation / "metrics.json").read_text())
    return content


def _figure() -> Figure:
    figure = Figure()
    figure.add_subplot().plot([0, 1], [0, 1], color=curves.BLUE)
    return figure


def test_the_page_shows_scores_and_comparability(evaluation: Path, result: dict[str, Any]) -> None:
    page = (evaluation / "report.html").read_text()
    assert f"{result['test']['dice_defective']:.4f}" in page
    assert f"{result['test']['nvidia_iou_floor']:.4f}" in page
    assert "Not comparable with NVIDIA" in page
    assert page.count("<svg") == 4
    assert page.count("data:image/webp") == 6
    assert re.search(r'<html lang="en">.*<title>[^<]+</title>', page, re.DOTALL)


def test_rates_stand_beside_their_counts_and_pictures_beside_their_thresholds(
    result: dict[str, Any],
) -> None:
    result["test"] |= {"image": {"tp": 4, "fn": 1, "fp": 2, "tn": 9}, "image_threshold": 2.5}
    result["threshold"] = 0.4
    panel = Panel("0001", "x.png", "seen", Image.new("RGB", (8, 8)))
    page = report.render_report(result, {}, {"worst": [panel]})
    assert "defective images that are flagged: 4&nbsp;of&nbsp;5<" in page
    assert "clean images that pass: 9&nbsp;of&nbsp;11<" in page
    assert "comparison at the pixel threshold of 0.400." in page
    assert "where its score (largest logit) is above 2.50." in page
    assert "(dark blue 0, yellow 1)" in page


def test_the_area_below_the_drawn_precision_is_the_average_precision() -> None:
    curve = {"recall": [1.0, 0.5, 0.5, 0.0], "precision": [0.5, 1 / 3, 1.0, 1.0], "threshold": [0.0] * 4}
    figures = curves.draw(
        {"pr": curve, "roc": {"fpr": []}, "dice_vs_threshold": {"threshold": []}}, {},
        threshold=0.5, operating_point={"image": {"tp": 1, "fp": 0, "fn": 1}},
    )  # fmt: skip
    line = figures["pr"].axes[0].lines[0]
    recall, precision = np.asarray(line.get_xydata()).T
    assert line.get_drawstyle() == "steps-post"
    assert np.sum(-np.diff(recall) * precision[:-1]) == pytest.approx(0.5 * 0.5 + 0.5 * 1.0)


def test_the_page_refers_to_nothing_outside_itself(evaluation: Path) -> None:
    page = (evaluation / "report.html").read_text()
    targets = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", page)
    targets += re.findall(r"url\(([^)]*)\)", page)
    assert targets
    assert [t for t in targets if not t.startswith(("data:", "#"))] == []
    assert "@import" not in page
    assert "<script" not in page


def test_every_picture_has_an_alternative_text_and_every_id_is_unique(evaluation: Path) -> None:
    page = (evaluation / "report.html").read_text()
    assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", page))
    assert all('role="img" aria-label="' in tag for tag in re.findall(r"<svg[^>]*>", page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_names_of_images_and_sources_cannot_inject_markup(result: dict[str, Any]) -> None:
    result["images"][0]["name"] = EVIL
    result["data"]["source"] = EVIL
    result["model"]["preset"] = result["model"]["train"]["preset"]
    panel = Panel(EVIL, "x.png", EVIL, Image.new("RGB", (8, 8)))
    page = report.render_report(result, {}, {"worst": [panel], "best": []})
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_scores_that_no_image_defines_are_dashes(result: dict[str, Any]) -> None:
    for key, _, _ in report.SCORES:
        result["test"][key] = None
    result["test"]["bootstrap"]["dice_defective"] = None
    page = report.render_report(result, {}, {})
    assert page.count(f"<b>{report.UNDEFINED}</b>") == 6
    assert "5–95 %" not in page
    assert "moves their Dice" not in report.render_card(result)


def test_published_numbers_stand_beside_ours_only_where_comparable(result: dict[str, Any]) -> None:
    assert "NVIDIA FP32" not in report.render_report(result, {}, {})
    assert report.comparison(result) == []
    result |= {"comparable": True, "nvidia_published": published(1)}
    page = report.render_report(result, {}, {})
    assert "NVIDIA FP32" in page
    rows = {row["threshold"]: row for row in report.nvidia_rows(result)}
    assert (rows[0.99]["float32"], rows[0.99]["amp"]) == (0.969, 0.967)
    assert rows[0.5]["float32"] is None
    dice = report.comparison(result)[0]
    assert dice["float32"] == pytest.approx([0.891, 0.894], abs=0.001)
    assert "| NVIDIA FP32 | – | – | – | – | 0.968 | 0.968 | 0.969 | 0.969 |" in report.render_card(result)


def test_the_way_above_the_floor_is_a_fraction_of_what_is_left(result: dict[str, Any]) -> None:
    result["test"]["nvidia_iou_floor"] = 0.9
    result["test"]["nvidia_iou"]["0.99"] = 0.95
    assert report.nvidia_rows(result)[-1]["above"] == pytest.approx(0.5)
    result["test"]["nvidia_iou"]["0.99"] = 0.8
    assert "below the floor" in report.render_report(result, {}, {})
    result["test"]["nvidia_iou_floor"] = 1.0  # no defective image
    assert report.nvidia_rows(result)[-1]["above"] is None


def test_notes_are_shown_on_both(result: dict[str, Any]) -> None:
    result["notes"] = ["The labels vanish."]
    assert "The labels vanish." in report.render_report(result, {}, {})
    assert "The labels vanish." in report.render_card(result)


def test_the_card_states_licence_citation_thresholds_and_limits(
    evaluation: Path, result: dict[str, Any]
) -> None:
    card = (evaluation / "model_card.md").read_text()
    for words in ("CC BY 4.0", "M. Wieler", "ellipses", "Intended use", result["model"]["sha256"]):
        assert words in card
    assert f"above {result['threshold']}" in card


def test_the_tables_of_the_card_are_whole(evaluation: Path) -> None:
    lines = (evaluation / "model_card.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5, 10}
    for i, line in enumerate(lines):  # a table may not be torn by an empty line
        if line.startswith("|---"):
            assert lines[i - 1].startswith("|")
            assert lines[i + 1].startswith("|")


def test_the_commands_of_the_card_are_understood_and_repeat_the_training(evaluation: Path) -> None:
    card = (evaluation / "model_card.md").read_text()
    commands = [shlex.split(line)[1:] for line in card.splitlines() if line.startswith("tinyunet ")]
    assert [command[0] for command in commands] == ["ingest", "convert", "train", "evaluate"]
    parsed = [parse(command) for command in commands]
    assert parsed[0].source.startswith("synthetic://?train=24&test=16")
    changes = dict(pair.split("=", 1) for pair in parsed[2].set)
    assert parsed[1].set[-1] == "shards=2"
    expected = TrainConfig(image_size=64, steps=12, global_batch=8, precision="float32", validate_every=6)
    assert TrainConfig().replace(changes) == expected


def test_the_card_repeats_records_and_precision(raw: Path, result: dict[str, Any], tmp_path: Path) -> None:
    result["model"]["train"]["precision"], result["model"]["precision"] = "auto", "mixed_float16"
    card = report.render_card(result)
    commands = [shlex.split(line)[1:] for line in card.splitlines() if line.startswith("tinyunet ")]
    config = DataConfig().replace(dict(pair.split("=", 1) for pair in parse(commands[1]).set))
    assert convert(raw, tmp_path / "records", config)["digest"] == result["data"]["digest"]
    assert "precision=mixed_float16" in commands[2]


def test_formats() -> None:
    assert report.number(0.12345) == "0.123"
    assert report.number(None) == "–"
    assert report.percent(0.9555) == "95.5 %"
    assert report.count(1850305) == "1\u202f850\u202f305"
    assert report.code("a`b\nc") == "a'b c"


def test_a_figure_takes_the_colour_of_the_page_and_names_itself() -> None:
    svg = curves.to_svg("pr", _figure())
    assert svg.startswith('<svg role="img" aria-label="Precision and recall of images"')
    assert curves.INK not in svg
    assert curves.BLUE in svg
    assert svg == curves.to_svg("pr", _figure())
    assert not set(re.findall(r'id="([^"]+)"', svg)) & set(
        re.findall(r'id="([^"]+)"', curves.to_svg("roc", _figure()))
    )


def test_history_leaves_out_what_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    assert curves.read_history(path) == {}
    path.write_text("step,loss,validation_dice\n1,0.5,\n2,0.25,0.75\n")
    assert curves.read_history(path) == {"loss": [(1, 0.5), (2, 0.25)], "validation_dice": [(2, 0.75)]}


def test_curves_without_points_are_not_drawn() -> None:
    empty: dict[str, dict[str, list[float]]] = {
        "pr": {"recall": []},
        "roc": {"fpr": []},
        "dice_vs_threshold": {"threshold": []},
    }
    assert curves.draw(empty, {}, threshold=0.5, operating_point={}) == {}
