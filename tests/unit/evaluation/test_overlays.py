"""Choice, colours, captions and files of the pictures of test images."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.examples import image_result
from tinyunet.core.documents.evaluation import ImageResult
from tinyunet.evaluation import overlays as o


def _row(defective: bool, score: float, dice: float | None = None) -> ImageResult:
    return image_result(defective=defective, score=score, dice=dice)


def test_worst_are_wrong_verdicts_then_low_dice_and_best_are_high_dice_then_clean_images() -> None:
    rows = [
        _row(True, 5, 0.9),
        _row(True, 4, 0.3),
        _row(True, -1, 0.1),  # missed by 1
        _row(False, -3),
        _row(False, 2),  # false alarm by 2
        _row(False, -7),
    ]
    worst, best = o.choose(rows, threshold=0.0, count=3)
    assert worst == [4, 2]  # half of the four candidates
    assert best == [0, 1, 5]


def test_no_image_is_chosen_twice_and_a_count_of_zero_chooses_none() -> None:
    rows = [_row(True, 5, 0.5 + i / 100) for i in range(5)]
    worst, best = o.choose(rows, threshold=0.0, count=8)
    assert (worst, best) == ([0, 1, 2], [4, 3])
    assert o.choose(rows, threshold=0.0, count=0) == ([], [])


def test_the_worst_image_of_every_type_is_chosen() -> None:
    rows = [_row(True, 5, i / 10).model_copy(update={"type": t}) for i, t in enumerate("aabbcd")]
    rows.append(_row(False, 9))  # a false alarm is the worst image, and has no type
    worst, best = o.choose(rows, threshold=0.0, count=2)
    assert worst == [6, 0, 2, 4, 5]
    assert best == [3, 1]
    assert o.choose(rows, threshold=0.0, count=0) == ([], [])


@pytest.mark.parametrize("size", [64, 128, 512])
def test_a_panel_has_four_tiles_of_one_size(size: int) -> None:
    grey = np.full((size, size), 50, np.uint8)
    label = np.zeros((size, size), bool)
    label[: size // 2] = True
    strip = o.draw_panel(grey, label, np.zeros((size, size)), 0.5)
    assert strip.size == (4 * 256 + 3 * 4, 256)
    assert strip.getpixel((10, 10)) == (50, 50, 50)  # image
    assert strip.getpixel((270, 10)) == (255, 255, 255)  # label, above
    assert strip.getpixel((270, 250)) == (0, 0, 0)  # label, below
    red, green, blue = np.array(strip)[0, 790].astype(int)  # comparison: no pixel was predicted
    assert min(red, blue) - green > 20  # purple


def test_file_names_are_safe_for_any_name_of_an_image() -> None:
    assert o.file_name(3, "worst", "../../etc/pass wd") == "worst-03-.._.._etc_pass_wd.png"
    assert len(o.file_name(1, "best", "x" * 500)) < 100


def test_captions_contain_truth_and_verdict() -> None:
    assert o.caption(_row(True, -1.0, 0.25), 0.0) == "Dice 0.250, defective and passed, score -1.00"
    typed = _row(True, -1.0, 0.25).model_copy(update={"type": "hole"})
    assert "defective (hole) and passed" in o.caption(typed, 0.0)
    assert o.caption(_row(False, 2.5), 0.0) == "clean and flagged, score 2.50"


def test_pictures_are_saved_with_a_header_and_embedded_without(tmp_path: Path) -> None:
    strip = Image.new("RGB", (o.WIDTH, o.TILE), (10, 200, 30))
    panel = o.Panel("0001", "worst-01-0001.png", "caption", strip)
    o.save([panel], tmp_path / "overlays")
    with Image.open(tmp_path / "overlays" / "worst-01-0001.png") as saved:
        assert saved.size == (o.WIDTH, o.TILE + o.HEADER)
        assert saved.getpixel((5, o.HEADER + 5)) == (10, 200, 30)
        header = np.array(saved)[: o.HEADER]
        assert all(
            (header == colour).all(axis=2).sum() == 100 for colour in (o.HIT, o.FALSE_ALARM, o.MISSED)
        )  # keys
        assert (header[:, -1] == 255).all()  # nothing is cut off
    kind, data = panel.data_uri().split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as embedded:
        assert embedded.size == strip.size
