from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import tree_of
from tinyunet.data.layouts import find
from tinyunet.data.layouts.base import LayoutOptions, Listing


def listed(folder: Path, *names: str) -> Listing:
    return find.read_listing(tree_of(folder, *names), LayoutOptions())


@pytest.mark.parametrize(
    ("folders", "files"),
    [
        ("traincrop valcrop testcrop", "{}/a.jpg {}/a.png"),
        ("traincrop/traincrop valcrop/valcrop testcrop/testcrop", "{}/a.jpg {}/a_mask.png"),
        ("crack_train crack_val crack_test", "{}/images/a.jpg {}/masks/a.png"),
        ("set/Training-2 set/Validation-2 set/Test-2", "{}/images/a.jpg {}/masks/a.png"),
    ],
)
def test_folders_that_differ_by_a_split_only_are_splits(tmp_path: Path, folders: str, files: str) -> None:
    listing = listed(tmp_path, *(files.replace("{}", folder) for folder in folders.split()))
    assert [(sample.name, sample.split, sample.defect_type) for sample in listing.samples] == [
        ("a", "train", ""),
        ("a", "validation", ""),
        ("a", "test", ""),
    ]
    assert listing.problems == ()


@pytest.mark.parametrize("folders", ["train_wheel test_bench", "trainwheel dent", "testcrop valcrop"])
def test_other_folders_are_types(tmp_path: Path, folders: str) -> None:
    listing = listed(tmp_path, *(f"{folder}/a.jpg {folder}/a.png" for folder in folders.split()))
    assert {sample.defect_type for sample in listing.samples} == set(folders.split())
    assert {sample.split for sample in listing.samples} == {""}


def test_folders_inside_of_splits_are_types(tmp_path: Path) -> None:
    folders = ["train/trainx", "train/testx", "test/testx"]
    listing = listed(tmp_path, *(f"{folder}/a.jpg {folder}/a.png" for folder in folders))
    assert [f"{sample.split}/{sample.defect_type}" for sample in listing.samples] == [
        "train/testx",
        "train/trainx",
        "test/testx",
    ]
