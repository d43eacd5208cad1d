from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.layouts.trees import mask_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated import rle
from tinyunet.data.layouts.base import LayoutOptions, Listing

# Of 6 × 4 pixels, column by column: 2 and 3 are the middle of the first column, 24 is the last pixel.
RUNS = "2 2 24 1"
EXPECTED = np.zeros((4, 6), np.uint8)
EXPECTED[1:3, 0] = EXPECTED[3, 5] = 1


def listed(folder: Path, *names: str, **texts: str) -> Listing:
    tree = tree_of(folder, *names, **texts)
    assert rle.recognise(tree)
    return rle.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (f"ImageId,ClassId,EncodedPixels\na.jpg,3,{RUNS}\n", {1: "3"}),
        (f"ImageId_ClassId,EncodedPixels\na.jpg_1,\na.jpg_3,{RUNS}\nb.jpg_1,\nb.jpg_3,nan\n", {1: "3"}),
        (f"Image_Label,EncodedPixels\na.jpg_Fish,{RUNS}\n", {1: "Fish"}),
        ("ImageId,EncodedPixels\na.jpg,2 2\na.jpg,24 1\nb.jpg,\n", {1: "defect"}),
        (f"id,rle_mask\na,{RUNS}\n", {1: "defect"}),
    ],
    ids=["severstal", "severstal 2019", "clouds", "airbus", "salt"],
)
def test_runs_are_drawn_column_by_column(tmp_path: Path, text: str, labels: dict[int, str]) -> None:
    listing = listed(
        tmp_path,
        "train_images/a.jpg train_images/b.jpg test_images/c.jpg",
        train_csv=text,
        sample_submission_csv="ImageId_ClassId,EncodedPixels\nc.jpg_1,1 1\n",
    )
    assert [(s.name, s.split, s.defective) for s in listing.samples] == [("a", "", None), ("b", "", False)]
    assert np.array_equal(mask_of(listing, "a"), EXPECTED)
    assert listing.type_names == labels
    assert "test_images/c.jpg" in listing.ignored
    assert listing.problems == ()


def test_images_that_the_table_does_not_name_are_clean_and_said(tmp_path: Path) -> None:
    listing = listed(tmp_path, "x/a.jpg x/b.jpg", t_csv=f"ImageId,EncodedPixels\na.jpg,{RUNS}\n")
    assert [sample.name for sample in listing.samples] == ["a", "b"]
    assert listing.notes == ("images that are not in the annotations count as clean: 1, such as x/b.jpg",)


def test_long_runs_are_read_whole(tmp_path: Path) -> None:
    """The csv module refuses fields of more than 131,072 characters unless it is told otherwise."""
    runs = " ".join(["1 1"] * 50_000)
    listing = listed(tmp_path, "a.jpg", t_csv=f"ImageId,EncodedPixels\na.jpg,{runs}\n")
    assert mask_of(listing, "a").sum() == 1


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ("1 25", r"holds runs outside 6×4 pixels; expected pixels counted from 1"),
        ("0 1", r"holds runs outside 6×4 pixels"),
        ("1 2 3", r"holds 3 numbers of runs; expected first pixel and length of each"),
        ("1 x", r"holds runs that are no numbers"),
    ],
)
def test_wrong_runs_are_an_error_of_their_mask(tmp_path: Path, runs: str, message: str) -> None:
    listing = listed(tmp_path, "a.jpg", t_csv=f"ImageId,EncodedPixels\na.jpg,{runs}\n")
    with pytest.raises(UserError, match=message):
        mask_of(listing, "a")


def test_an_image_that_does_not_exist_is_one_problem(tmp_path: Path) -> None:
    text = f"ImageId_ClassId,EncodedPixels\na.jpg_1,{RUNS}\nz.jpg_1,1 1\nz.jpg_2,1 1\n"
    listing = listed(tmp_path, "a.jpg", t_csv=text)
    assert [str(problem) for problem in listing.problems] == [
        "t.csv: line 3: the image 'z.jpg' does not exist, or is in several folders"
    ]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            {"t_csv": "image,label\na.jpg,1\n"},
            "no table of encoded pixels; expected a CSV file with the columns",
        ),
        ({"a_csv": "id,rle\na,1 1\n", "b_csv": "id,rle\na,1 1\n"}, "has the tables a.csv, b.csv; keep one"),
    ],
)
def test_no_table_or_two_are_an_error(tmp_path: Path, texts: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        rle.list_samples(tree_of(tmp_path, "a.jpg", **texts), LayoutOptions())
