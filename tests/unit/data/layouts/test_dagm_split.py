"""One split of a class of DAGM2007: files, Labels.txt and their faults."""

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.unit.data.conftest import copy_class
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import dagm
from tinyunet.data.layouts.base import LayoutOptions
from tinyunet.data.layouts.dagm_split import ListedSplit, list_split
from tinyunet.data.sources.trees import FolderTree

OFFICIAL = "1\r\n0576\t0\t0576.PNG\t0\t0\t\r\n0577\t1\t0577.PNG\t0\t0577_label.PNG\r\n"
FILES = ("0576.PNG", "0577.PNG", "Label/0577_label.PNG")


def _write(root: Path, *names: str, labels: str | bytes | None = OFFICIAL) -> None:
    (root / "Train" / "Label").mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / "Train" / name).touch()
    if labels is not None:
        data = labels if isinstance(labels, bytes) else labels.encode()
        (root / "Train" / "Label" / "Labels.txt").write_bytes(data)


def _list(root: Path) -> ListedSplit:
    tree = FolderTree(root)
    return list_split(tree, tree.names, "", "train")


def _problems(root: Path) -> list[str]:
    return list(map(str, _list(root).problems))


def test_upper_and_lower_case_in_names_are_equal(tmp_path: Path) -> None:
    _write(tmp_path, "0576.png", "0577.PNG", "Label/0577_LABEL.png")
    split = _list(tmp_path)
    assert split.problems == ()
    assert [(s.name, s.defective, s.mask and s.mask.name) for s in split.samples] == [
        ("0576", False, None),
        ("0577", True, "Train/Label/0577_LABEL.png"),
    ]


def test_names_in_lower_case_and_labels_in_utf_16_give_the_same_samples(class1: Path, tmp_path: Path) -> None:
    copy_class(class1, tmp_path / "Class1")
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.rename(path.with_name(path.name.lower()))
    labels = tmp_path / "class1" / "train" / "label" / "labels.txt"
    labels.write_text(labels.read_text(), "utf-16")
    listing = dagm.list_samples(FolderTree(tmp_path), LayoutOptions())
    expected = dagm.list_samples(FolderTree(class1), LayoutOptions()).samples
    assert listing.problems == ()
    assert [(s.split, s.name, s.defective) for s in listing.samples] == [
        (s.split, s.name, s.defective) for s in expected
    ]


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (FILES[1:], OFFICIAL, "Train/0576.PNG: is missing, but listed in line 2 of Labels.txt"),
        (FILES[:2], OFFICIAL, "Train/Label/0577_label.PNG: is missing, but listed in line 3"),
        ((*FILES, "9.PNG"), OFFICIAL, "Train/9.PNG: has no row in Labels.txt"),
        ((*FILES, "Label/9.PNG"), OFFICIAL, "Train/Label/9.PNG: has no row in Labels.txt"),
        (
            (*FILES, "Label/0576_label.PNG"),
            OFFICIAL,
            "Train/Label/0576_label.PNG: is the mask of an image listed as defect-free",
        ),
        (FILES, OFFICIAL + "1\t0\t0576.PNG\t0\t0\n", "Train/0576.PNG: is listed a second time in line 4"),
        (
            FILES[:2],
            OFFICIAL.replace("0577_label.PNG", "0"),
            "0577.PNG: is listed as defective without a mask",
        ),
        (
            FILES,
            OFFICIAL.replace("\t1\t", "\t0\t"),
            "0577.PNG: is listed as defect-free with the mask 0577_l",
        ),
        (
            (*FILES[:2], "Label/0576_label.PNG"),
            OFFICIAL.replace("0577_label", "0576_label"),
            "Train/0577.PNG: is listed with the mask 0576_label.PNG in line 3 of Labels.txt, expected 0577_l",
        ),
        (FILES, OFFICIAL + "a b\n", "Train/Label/Labels.txt: line 4 is 'a b', expected five fields"),
        (FILES, b"\xff\xfe\x00\x81", "Train/Label/Labels.txt: is not text in UTF-8 or UTF-16"),
        (FILES, None, "Train/Label/Labels.txt: is missing; every split needs its list of labels"),
        (
            (*FILES, "a/b.PNG"),
            "../../0576.PNG".join(OFFICIAL.split("0576.PNG")),
            "Train/../../0576.PNG: is mi",
        ),
    ],
)
def test_a_fault_is_named_with_its_file(
    tmp_path: Path, names: tuple[str, ...], labels: str | bytes | None, message: str
) -> None:
    (tmp_path / "Train" / "a").mkdir(parents=True)
    _write(tmp_path, *names, labels=labels)
    assert any(message in problem for problem in _problems(tmp_path))


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    _write(tmp_path, *FILES)
    tree = FolderTree(tmp_path)
    problems = list_split(tree, tree.names, "", "test").problems
    assert [str(p) for p in problems] == [
        "Test/Label/Labels.txt: is missing; every split needs its list of labels"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0577.jpg", "Train/0577.jpg: is a .jpg file, listed in line 3 of Labels.txt; expected a PNG"),
        ("Label/0577_LABEL.TIF", "Train/Label/0577_LABEL.TIF: is a .tif file, listed in line 3"),
    ],
)
def test_a_picture_of_another_format_is_named_as_what_it_is(tmp_path: Path, name: str, message: str) -> None:
    other = {"0577.jpg": "0577.PNG", "Label/0577_LABEL.TIF": "Label/0577_label.PNG"}[name]
    names = [file for file in FILES if file != other]
    listed = OFFICIAL.replace("0577.PNG", name) if "/" not in name else OFFICIAL
    for labels in (OFFICIAL, listed):
        _write(tmp_path, *names, name, labels=labels)
        problems = _problems(tmp_path)
        assert len(problems) == 1
        assert problems[0].startswith(message)


def test_an_archive_in_a_split_without_its_images_is_named(tmp_path: Path) -> None:
    _write(tmp_path, "images.tar.gz", "more.ZIP", "notes.txt", labels=None)
    assert _problems(tmp_path) == [
        "Train/images.tar.gz: is a tar archive; unpack it",
        "Train/more.ZIP: is a zip archive; unpack it",
        "Train/Label/Labels.txt: is missing; every split needs its list of labels",
    ]


@pytest.mark.parametrize("name", ["train", "Train/LABEL", "Train/Label/labels.txt", "Train/0576.png"])
def test_two_names_that_differ_in_upper_and_lower_case_are_an_error(tmp_path: Path, name: str) -> None:
    _write(tmp_path, *FILES)
    second = next(
        p for p in tmp_path.rglob("*") if p.relative_to(tmp_path).as_posix().lower() == name.lower()
    )
    copy = tmp_path / name
    shutil.copytree(second, copy) if second.is_dir() else shutil.copy(second, copy)
    with pytest.raises(UserError, match=rf"holds .*{copy.name}.*; keep one of them"):
        _list(tmp_path)


@pytest.mark.parametrize(
    ("create", "reason"),
    [
        (lambda path: path.symlink_to("absent"), "is a broken link (to absent)"),
        (Path.mkdir, "is a folder"),
        (os.mkfifo, "is not a regular file"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_note_unless_it_is_listed(
    tmp_path: Path, create: object, reason: str
) -> None:
    _write(tmp_path, *FILES[1:])
    for name in ("9999.png", "0576.PNG"):
        create(tmp_path / "Train" / name)  # type: ignore[operator]
    split = _list(tmp_path)
    assert split.problems == ()
    assert split.notes == (f"Train/9999.png: {reason}; it is left out",)
    with pytest.raises(UserError, match=re.escape(reason)):
        split.samples[0].image.read()


def test_a_list_as_csv_replaces_missing_labels(tmp_path: Path) -> None:
    _write(tmp_path, *FILES, labels=None)
    header = "image_filepath,lbl_image_filepath,is_defective\n"
    rows = "Train/0576.PNG,,0\nTrain/0577.PNG,Train/Label/0577_label.PNG,1\n"
    (tmp_path / "train_list.csv").write_text(header + rows)
    split = _list(tmp_path)
    assert split.problems == ()
    assert [(s.name, s.defective) for s in split.samples] == [("0576", False), ("0577", True)]
    (tmp_path / "train_list.csv").write_text(header + rows + "x,y\n")
    assert _problems(tmp_path) == [
        "train_list.csv: line 4 is 'x,y,None', expected the columns image_filepath, lbl_image_filepath, "
        "is_defective (0 or 1)"
    ]
