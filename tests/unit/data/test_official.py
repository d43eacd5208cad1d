"""What makes a class the official one, and what a split of the official size must hold."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from tinyunet.data.dagm import OFFICIAL_COUNTS, Sample
from tinyunet.data.pixels import Checked, read_grey
from tinyunet.data.validate import count, count_problems, is_official, validate


def checked_class(
    class_id: int, train: tuple[int, int], test: tuple[int, int], size: int = 512
) -> list[Checked]:
    samples = [
        Sample(split, str(n), Path(f"{n}.PNG"), None, n < defective)
        for split, (images, defective) in (("train", train), ("test", test))
        for n in range(images)
    ]
    return [Checked(sample, (size, size), "", None, str(n), 0, False, ()) for n, sample in enumerate(samples)]


def test_the_official_counts_of_a_class_make_it_complete() -> None:
    checked = checked_class(4, (575, 82), (575, 68))
    assert count_problems(checked, 4, official=True) == []
    assert is_official(count(checked), 4)
    assert not is_official(count(checked), 5)


@pytest.mark.parametrize(
    ("train", "size", "message"),
    [
        ((575, 81), 512, "Train: has all 575 images of Class4, but 81 defective, expected 82"),
        ((575, 82), 256, "Train: has all 575 images of Class4, but not all of 512×512 pixels"),
    ],
)
def test_a_copy_of_official_size_must_hold_the_official_facts(
    train: tuple[int, int], size: int, message: str
) -> None:
    checked = checked_class(4, train, (575, 68), size)
    assert str(count_problems(checked, 4, official=True)[0]) == message
    assert count_problems(checked, 4, official=False) == []


def test_a_part_of_a_class_is_accepted_and_not_complete() -> None:
    checked = checked_class(4, (100, 20), (575, 68))
    assert count_problems(checked, 4, official=True) == []
    assert not is_official(count(checked), 4)


def test_generated_images_of_the_official_number_need_not_hold_the_official_facts(
    raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OFFICIAL_COUNTS, 1, {"train": (24, 7), "test": (16, 4)})
    assert validate(raw, 1).problems == ()


def test_the_official_counts_with_a_problem_are_not_complete(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("Train", "Test"):
        shutil.copytree(raw / split, tmp_path / split)
    for path in tmp_path.rglob("*.PNG"):
        Image.fromarray(read_grey(path.read_bytes())).save(path)  # no longer marked as generated
    monkeypatch.setitem(OFFICIAL_COUNTS, 1, {"train": (24, 8), "test": (16, 5)})
    report = validate(tmp_path, 1)
    assert is_official(report.counts(), 1)
    assert str(report.problems[0]).endswith("not all of 512×512 pixels")
    assert not report.complete


@pytest.mark.parametrize("defective", [0, 30])
def test_images_of_one_kind_are_enough_in_test(defective: int) -> None:
    assert count_problems(checked_class(4, (100, 20), (30, defective)), 4, official=True) == []
