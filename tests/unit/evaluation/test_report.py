"""The page and the model card of an evaluation."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.examples import evaluation as example
from tests.unit.examples import factory, image_result, scores, share
from tinyunet.cli.main import parse
from tinyunet.core.config import DataConfig, TrainConfig
from tinyunet.core.documents.evaluation import Bootstrap, ConfusionCounts, Evaluation
from tinyunet.data.tfrecord import convert
from tinyunet.evaluation import report
from tinyunet.evaluation.overlays import Panel
from tinyunet.evaluation.published import published
from tinyunet.evaluation.rendering import UNDEFINED

MARKUP = "<script>alert(1)</script>\"'`"


@pytest.fixture
def page(evaluation: Path) -> str:
    return (evaluation / "report.html").read_text()


@pytest.fixture
def card(evaluation: Path) -> str:
    return (evaluation / "model_card.md").read_text()


def commands(card: str) -> list[list[str]]:
    """Return the arguments of the commands in a model card."""
    return [shlex.split(line)[1:] for line in card.splitlines() if line.startswith("tinyunet ")]


def settings(command: list[str]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in parse(command).set)


def test_the_page_shows_scores_and_comparability(evaluation: Path, page: str) -> None:
    result = Evaluation.read(evaluation)
    assert f"{result.test.dice_defective:.4f}" in page
    assert f"{result.test.nvidia_iou_floor:.4f}" in page
    assert "Not comparable with NVIDIA" in page
    assert page.count("<svg") == 4
    assert page.count("data:image/webp") == 6
    assert re.search(r'<html lang="en">.*<title>[^<]+</title>', page, re.DOTALL)


def test_rates_are_shown_with_their_counts_and_pictures_with_their_thresholds() -> None:
    test = scores(image=ConfusionCounts(tp=4, fn=1, fp=2, tn=9), image_threshold=2.5)
    panel = Panel("0001", "x.png", "caption", Image.new("RGB", (8, 8)))
    page = report.render_report(example(test=test, threshold=0.4), {}, {"worst": [panel]})
    assert "defective images that are flagged: 4&nbsp;of&nbsp;5<" in page
    assert "clean images that pass: 9&nbsp;of&nbsp;11<" in page
    assert "comparison at the pixel threshold of 0.400." in page
    assert "where its score (largest logit) is above 2.50." in page
    assert "(dark blue 0, yellow 1)" in page


def test_the_page_refers_to_no_other_file(page: str) -> None:
    targets = re.findall(r"""(?:src|href|action)\s*=\s*["']?([^"'\s>]+)""", page)
    targets += re.findall(r"url\(([^)]*)\)", page)
    assert targets
    assert [t for t in targets if not t.startswith(("data:", "#"))] == []
    assert "@import" not in page
    assert "<script" not in page


def test_every_picture_has_an_alternative_text_and_every_id_is_unique(page: str) -> None:
    assert all(re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", page))
    assert all('role="img" aria-label="' in tag for tag in re.findall(r"<svg[^>]*>", page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_names_of_images_and_sources_cannot_inject_markup() -> None:
    image = image_result(defective=False, score=0.0).model_copy(update={"name": MARKUP})
    data = example().data.model_copy(update={"source": MARKUP})
    panel = Panel(MARKUP, "x.png", MARKUP, Image.new("RGB", (8, 8)))
    page = report.render_report(example(images=(image,), data=data), {}, {"worst": [panel], "best": []})
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4


def test_undefined_scores_are_dashes() -> None:
    undefined: dict[str, object] = {key: None for key, _, _ in report.SCORES}
    result = example(test=scores(**undefined, bootstrap=Bootstrap(dice_defective=None)))
    page = report.render_report(result, {}, {})
    assert page.count(f"<b>{UNDEFINED}</b>") == 8
    assert "5–95 %" not in page
    assert "bootstrap samples" not in report.render_card(result)


def test_published_numbers_are_shown_only_where_comparable() -> None:
    result = example(comparable=False)
    assert "NVIDIA FP32" not in report.render_report(result, {}, {})
    assert report.comparison(result) == []
    result = example(comparable=True, nvidia_published=published(1))
    assert "NVIDIA FP32" in report.render_report(result, {}, {})
    rows = {row.threshold: row for row in report.nvidia_rows(result)}
    assert (rows[0.99].float32, rows[0.99].amp) == (0.969, 0.967)
    assert rows[0.5].float32 is None
    dice = report.comparison(result)[0]
    assert dice.float32 == pytest.approx((0.891, 0.894), abs=0.001)
    assert "| NVIDIA FP32 | – | – | – | – | 0.968 | 0.968 | 0.969 | 0.969 |" in report.render_card(result)


@pytest.mark.parametrize(("floor", "ours", "above"), [(0.9, 0.95, 0.5), (0.9, 0.8, -1.0), (1.0, 1.0, None)])
def test_the_position_above_the_floor_is_a_fraction_of_the_range_to_one(
    floor: float, ours: float, above: float | None
) -> None:
    nvidia_iou = scores().nvidia_iou | {"0.99": ours}
    result = example(test=scores(nvidia_iou_floor=floor, nvidia_iou=nvidia_iou))
    row = report.nvidia_rows(result)[-1]
    assert row.above == (None if above is None else pytest.approx(above))
    page = report.render_report(result, {}, {})
    assert ("below the floor</td>" in page) is (above == -1.0)


def test_page_and_card_begin_with_the_words_of_a_production_line() -> None:
    result = example(factory=factory(unseen_types=("hole",)))
    for text in (report.render_report(result, {}, {}), report.render_card(result)):
        words = text.index("Found 3 of 4 defects; 30 false alarms per 1,000 good parts;")
        assert words < text.index("NVIDIA’s" if "NVIDIA’s" in text else "Dice, defective images")
        for part in ("3 of 4", "0 of 1", "1 of 100", "10–99", "100,000 and more", "5.0–95.0 %", "hole"):
            assert part in text[words + 80 :]
        assert "Types of defects on Test that no training image shows: " in text


def test_page_and_card_without_a_good_part_have_no_rates_of_parts() -> None:
    none = factory(passed=None, stopped=None, false_alarms_per_1000=None, good_parts=0, types=())
    for text in (
        report.render_report(example(factory=none), {}, {}),
        report.render_card(example(factory=none)),
    ):
        assert "no verdict on parts" in text
        assert "Good parts stopped" not in text
        assert "Type of defect" not in text
    assert "On a production line" not in report.render_report(example(), {}, {})


def test_the_name_of_a_type_can_neither_inject_markup_nor_break_a_table() -> None:
    named = factory().types[0].model_copy(update={"type": "<b>|`"})
    result = example(factory=factory(types=(named,), found=share(1, 1)))
    assert "<b>|" not in report.render_report(result, {}, {})
    assert r"| <b>\|' | 3 of 4 |" in report.render_card(result)


def test_the_evaluate_command_of_the_card_has_the_target() -> None:
    card = report.render_card(example(cost="miss=10,stop=1"))
    assert settings(commands(card)[3])["cost"] == "miss=10,stop=1"


def test_page_and_card_show_the_notes() -> None:
    result = example(notes=("The labels vanish.",))
    assert "The labels vanish." in report.render_report(result, {}, {})
    assert "The labels vanish." in report.render_card(result)


def test_the_card_states_licence_citation_thresholds_and_limits(evaluation: Path, card: str) -> None:
    result = Evaluation.read(evaluation)
    for words in ("CC BY 4.0", "M. Wieler", "ellipses", "Intended use", result.model.sha256):
        assert words in card
    assert f"above {result.threshold}" in card


def test_page_and_card_say_what_was_done_to_the_pixels() -> None:
    data = example().data.model_copy(update={"pixels": ("8-bit RGB", "alpha is dropped"), "masks": "soft"})
    card = report.render_card(example(data=data))
    assert "\n- Image files: 8-bit RGB, alpha is dropped; masks: soft\n" in card
    page = report.render_report(example(data=data), {}, {})
    assert "<td>8-bit RGB, alpha is dropped</td>" in page
    assert "Image files" not in report.render_card(example())


@pytest.mark.parametrize(("dataset", "cited"), [("dagm", True), ("part-7", False)])
def test_the_licence_of_dagm2007_is_that_of_its_images_only(dataset: str, cited: bool) -> None:
    result = example(data=example().data.model_copy(update={"dataset": dataset, "category": ""}))
    for text in (report.render_report(result, {}, {}), report.render_card(result)):
        assert [words in text for words in ("DAGM", "CC BY 4.0", "ellipses")] == [cited] * 3


def test_the_tables_of_the_card_have_no_empty_lines(card: str) -> None:
    lines = card.splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in rows} == {5, 10}
    for i, line in enumerate(lines):
        if line.startswith("|---"):
            assert lines[i - 1].startswith("|")
            assert lines[i + 1].startswith("|")


def test_the_commands_of_the_card_are_valid_and_repeat_the_training(card: str) -> None:
    assert [command[0] for command in commands(card)] == ["ingest", "convert", "train", "evaluate"]
    ingest, convert_records, train, evaluate = commands(card)
    assert parse(ingest).source.startswith("synthetic://?train=24&test=16")
    assert parse(convert_records).set[-1] == "shards=2"
    expected = TrainConfig(image_size=64, steps=12, global_batch=8, precision="float32", validate_every=6)
    assert TrainConfig().replace(settings(train)) == expected
    assert settings(evaluate) == {"test_time_poses": "1", "image_score": "max"}


def test_the_commands_of_the_card_repeat_the_records(raw: Path, evaluation: Path, tmp_path: Path) -> None:
    result = Evaluation.read(evaluation)
    config = DataConfig().replace(settings(commands(report.render_card(result))[1]))
    assert convert(raw, tmp_path / "records", config).digest == result.data.digest


def test_the_train_command_of_the_card_has_the_precision_that_was_used() -> None:
    model = example().model.model_copy(update={"precision": "mixed_float16"})
    assert model.train.precision == "auto"
    assert "precision=mixed_float16" in commands(report.render_card(example(model=model)))[2]


def test_the_ingest_command_of_the_card_has_the_options_that_were_given() -> None:
    options = {"name": "line-7", "images": "a b/*.png", "masks": "{stem}_x.png", "allow_partial": True}
    result = example()
    result = result.model_copy(update={"data": result.data.model_copy(update={"options": options})})
    ingest = parse(commands(report.render_card(result))[0])
    assert {key: getattr(ingest, key) for key in options} == options
