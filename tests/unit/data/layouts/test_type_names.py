from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import tree_of
from tinyunet.data.layouts import beside, pairs
from tinyunet.data.layouts.base import LayoutOptions
from tinyunet.data.layouts.type_names import read_type_names


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("train___classes_csv", "Pixel Value, Class\n0, background\n1, pit\n2, crack\n"),
        ("x__class_dict_csv", "name,r,g,b\nbackground,0,0,0\npit,0,0,1\ncrack,0,0,2\n"),
        ("class_names_txt", "__ignore__\n_background_\npit\ncrack\n"),
    ],
)
def test_a_file_beside_the_masks_says_the_names_of_their_values(tmp_path: Path, file: str, text: str) -> None:
    assert read_type_names(tree_of(tmp_path, "a.jpg", **{file: text})) == {1: "pit", 2: "crack"}


def test_without_a_file_or_with_a_wrong_one_there_are_no_names(tmp_path: Path) -> None:
    assert read_type_names(tree_of(tmp_path / "a", "a.jpg")) == {}
    assert read_type_names(tree_of(tmp_path / "b", "a.jpg", _classes_csv="Pixel Value\nx\n")) == {}


def test_layouts_of_mask_files_have_the_names(tmp_path: Path) -> None:
    text = "Pixel Value, Class\n1, pit\n"
    tree = tree_of(tmp_path / "a", "train/a.jpg train/a_mask.png", train___classes_csv=text)
    assert beside.list_samples(tree, LayoutOptions()).type_names == {1: "pit"}
    tree = tree_of(tmp_path / "b", "images/a.jpg masks/a.png", _classes_csv=text)
    assert pairs.list_samples(tree, LayoutOptions()).type_names == {1: "pit"}
