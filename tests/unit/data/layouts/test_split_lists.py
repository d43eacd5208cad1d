from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import tree_of
from tinyunet.data.layouts import find
from tinyunet.data.layouts.base import LayoutOptions, Listing

NAMES = "set/images/a.png set/images/b.png set/masks/a.png set/masks/b.png"


def listed(folder: Path, *names: str, **texts: str) -> Listing:
    return find.read_listing(tree_of(folder, *names, **texts), LayoutOptions())


@pytest.mark.parametrize(
    "line",
    ["{}", "{}.png", "images/{}.png", "./images/{}.png", "images/{}.png masks/{}.png", "/x/images/{}.png"],
)
def test_lists_say_the_splits(tmp_path: Path, line: str) -> None:
    texts = {
        "set__train_txt": line.replace("{}", "a"),
        "set__test_txt": f"\ufeff{line.replace('{}', 'b')}\r\n\r\n",
    }
    listing = listed(tmp_path, NAMES, **texts)
    assert [(sample.name, sample.split) for sample in listing.samples] == [("a", "train"), ("b", "test")]
    assert listing.notes == ()


def test_lists_name_images_of_several_folders_by_their_folder(tmp_path: Path) -> None:
    names = [f"{kind}/1.jpg {kind}/1.png" for kind in ("pit", "dent")]
    listing = listed(tmp_path, *names, train_txt="pit/1.jpg pit/1.png", val_txt="dent/1.jpg dent/1.png")
    assert [(sample.defect_type, sample.split) for sample in listing.samples] == [
        ("pit", "train"),
        ("dent", "validation"),
    ]


def test_a_list_may_write_letters_with_accents_as_macos_does(tmp_path: Path) -> None:
    listing = listed(tmp_path, "\u00e4.jpg \u00e4.png b.jpg b.png", train_txt="a\u0308.jpg", test_txt="b.jpg")
    assert {sample.image.name: sample.split for sample in listing.samples} == {
        "\u00e4.jpg": "train",
        "b.jpg": "test",
    }


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        ("a", "", "1 image would have no split, or two"),
        ("a\nb", "b", "1 image would have no split, or two"),
        ("a\nb", "a\nb", "2 images would have no split, or two"),
        ("a\nb", "", "there is only one"),
    ],
)
def test_lists_that_do_not_say_one_split_for_every_image_are_noted(
    tmp_path: Path, train: str, test: str, reason: str
) -> None:
    listing = listed(tmp_path, NAMES, train_txt=train, test_txt=test)
    assert {sample.split for sample in listing.samples} == {""}
    assert listing.notes == (f"the splits of test.txt, train.txt are not used: {reason}",)


@pytest.mark.parametrize("name", ["trainval", "train_val"])
def test_a_list_of_the_images_for_training_and_validation_together_is_left_out(
    tmp_path: Path, name: str
) -> None:
    texts = {"train_txt": "a", "val_txt": "b", f"{name}_txt": "a\nb"}
    listing = listed(tmp_path, NAMES, **texts)
    assert [sample.split for sample in listing.samples] == ["train", "validation"]
    listing = listed(tmp_path / "2", NAMES, **{f"{name}_txt": "a", "test_txt": "b"})
    assert [sample.split for sample in listing.samples] == ["train", "test"]


def test_folders_of_splits_count_more_than_lists(tmp_path: Path) -> None:
    listing = listed(tmp_path, "train/a.jpg train/a.png test/b.jpg test/b.png", train_txt="b", test_txt="a")
    assert [(sample.name, sample.split) for sample in listing.samples] == [("a", "train"), ("b", "test")]


def test_other_texts_with_such_a_name_say_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path, NAMES, test_txt="this is a test\n").notes == ()
