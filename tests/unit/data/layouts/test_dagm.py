import re
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.layouts import dagm

OFFICIAL = "1\r\n0576\t0\t0576.PNG\t0\t0\t\r\n0577\t1\t0577.PNG\t0\t0577_label.PNG\r\n"


def test_formatted_labels_equal_the_official_file(tmp_path: Path) -> None:
    samples = [
        dagm.Sample("train", "0576", tmp_path / "0576.PNG", None, False),
        dagm.Sample("train", "0577", tmp_path / "0577.PNG", tmp_path / "0577_label.PNG", True),
    ]
    assert dagm.format_labels(samples) == OFFICIAL


def test_the_official_counts_add_up_to_the_published_totals() -> None:
    totals = {
        split: tuple(sum(dagm.OFFICIAL_COUNTS[c][split][i] for c in dagm.CLASSES) for i in (0, 1))
        for split in dagm.SPLITS
    }
    assert totals == {"train": (8050, 1046), "test": (8050, 1054)}
    for class_id in range(1, 7):
        assert sum(dagm.OFFICIAL_COUNTS[class_id][split][1] for split in dagm.SPLITS) == 150


def test_a_class_is_listed_in_order_with_train_first(raw: Path) -> None:
    samples = dagm.read_class(raw)
    assert [s.split for s in samples] == ["train"] * 24 + ["test"] * 16
    assert [s.name for s in samples] == [f"{n:04d}" for n in [*range(17, 41), *range(1, 17)]]
    assert all(s.image_path.is_file() and s.defective == (s.mask_path is not None) for s in samples)


@pytest.mark.parametrize(
    "location",
    ["data/Class3", "Class3", "Class3.zip", "all.zip!dagm/Class3.zip", "https://h/Class3.zip/content"],
)
def test_a_location_named_after_another_class_is_an_error(location: str) -> None:
    dagm.require_class(location, 3)
    message = f"{location} is Class3, but class_id is 4; give class_id=3 or another source"
    with pytest.raises(UserError, match=re.escape(message)):
        dagm.require_class(location, 4)


@pytest.mark.parametrize(
    "location", ["data", "Class3/mine", "MyClass3.zip", "Class3.zip!Class4.zip", "data/CLASS2007"]
)
def test_a_location_with_any_other_name_is_accepted(location: str) -> None:
    dagm.require_class(location, 4)


def test_upper_and_lower_case_in_file_names_are_equal(tmp_path: Path) -> None:
    (tmp_path / "Train" / "Label").mkdir(parents=True)
    for name in ("0576.png", "0577.PNG", "Label/0577_LABEL.png"):
        (tmp_path / "Train" / name).touch()
    (tmp_path / "Train" / "Label" / "Labels.txt").write_text(OFFICIAL)
    samples, problems = dagm.scan_split(tmp_path, "train")
    assert problems == []
    assert [s.name for s in samples] == ["0576", "0577"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0577.jpg", "Train/0577.jpg: is a .jpg file, listed in line 3 of Labels.txt; expected a PNG"),
        ("Label/0577_LABEL.TIF", "Train/Label/0577_LABEL.TIF: is a .tif file, listed in line 3"),
    ],
)
def test_a_picture_of_another_format_is_named_as_what_it_is(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "Train" / "Label").mkdir(parents=True)
    files = {"0576.PNG": "0576.PNG", "0577.jpg": "0577.PNG", "Label/0577_LABEL.TIF": "Label/0577_label.PNG"}
    for other, png in files.items():
        (tmp_path / "Train" / (other if other == name else png)).touch()
    listed = OFFICIAL.replace("0577.PNG", name) if "/" not in name else OFFICIAL
    for labels in (OFFICIAL, listed):
        (tmp_path / "Train" / "Label" / "Labels.txt").write_text(labels)
        problems = dagm.scan_split(tmp_path, "train")[1]
        assert len(problems) == 1
        assert str(problems[0]).startswith(message)


def test_an_archive_in_a_split_without_its_images_is_named(tmp_path: Path) -> None:
    (tmp_path / "Train" / "Label").mkdir(parents=True)
    for name in ("images.tar.gz", "more.ZIP", "notes.txt"):
        (tmp_path / "Train" / name).touch()
    problems = list(map(str, dagm.scan_split(tmp_path, "train")[1]))
    assert problems == [
        "Train/images.tar.gz: is a tar archive; unpack it",
        "Train/more.ZIP: is a zip archive; unpack it",
        "Train/Label/Labels.txt: is missing; every split needs its list of labels",
    ]


def test_the_summary_shows_three_problems_and_counts_the_others() -> None:
    problems = [dagm.Problem(f"Train/{n}.PNG", "is bad") for n in range(5)]
    line = dagm.summarize("data", problems)
    assert line.startswith("data has 5 problems: Train/0.PNG: is bad; Train/1.PNG")
    assert "and 2 more" in line
    assert "Train/3" not in line
    assert "has 1 problem: Train/0.PNG: is bad; correct" in dagm.summarize("data", problems[:1])
