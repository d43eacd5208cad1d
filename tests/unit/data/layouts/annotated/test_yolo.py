from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.layouts.trees import mask_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated import yolo
from tinyunet.data.layouts.base import LayoutOptions, Listing

HALF = "0 0.5 0 1 0 1 1 0.5 1\n"  # the right half of an image
NAMES = "nc: 2\nnames: [pit, crack]\n"


def listed(folder: Path, *names: str, **texts: str) -> Listing:
    tree = tree_of(folder, *names, **texts)
    assert yolo.recognise(tree)
    return yolo.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize("names", [NAMES, "names:\n  0: pit\n  1: crack\n"])
@pytest.mark.parametrize("folders", ["{split}/{kind}", "{kind}/{split}", "set/{split}/{kind}"])
def test_polygons_are_drawn_with_their_labels_and_splits(tmp_path: Path, folders: str, names: str) -> None:
    def place(split: str, kind: str, file: str) -> str:
        return f"{folders.format(split=split, kind=kind)}/{file}"

    labels = {"train": HALF.replace("0 0.5", "1 0.5", 1), "valid": HALF, "test": ""}
    texts = {place(split, "labels", "a_txt").replace("/", "__"): text for split, text in labels.items()}
    listing = listed(
        tmp_path, *(place(split, "images", "a.jpg") for split in labels), data_yaml=names, **texts
    )
    assert [(s.split, s.name, s.defective) for s in listing.samples] == [
        ("train", "a", None),
        ("validation", "a", None),
        ("test", "a", False),
    ]
    assert listing.type_names == {1: "crack", 2: "pit"}
    mask = mask_of(listing, "a")
    assert np.array_equal(mask, np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0))
    assert listing.problems == ()


def test_an_image_without_a_text_file_is_clean_and_said(tmp_path: Path) -> None:
    listing = listed(tmp_path, "images/a.jpg images/b.jpg", labels__a_txt=HALF, classes_txt="pit\n")
    assert [(s.name, s.defective) for s in listing.samples] == [("a", None), ("b", False)]
    assert listing.notes == (
        "images that are not in the annotations count as clean: 1, such as images/b.jpg",
    )
    assert listing.found == "YOLO annotations: 2 images, 1 mask; labels pit"


@pytest.mark.parametrize(
    ("text", "file", "message"),
    [
        ("0 0.5 0.5 0.1 0.1\n", "images/b.jpg", "has boxes only; expected polygons or masks"),
        (
            HALF + "0 0.5 0.5 0.1 0.1\n",
            "labels/b.txt",
            "has 1 boxes beside its polygons; expected polygons only",
        ),
        ("0 0.5 0 1 0 1\n", "labels/b.txt", "line 1 is '0 0.5 0 1 0 1'; expected the number of a label"),
        (HALF + "0 50 0 99 0 9 9\n", "labels/b.txt", "line 2 is '0 50 0 99 0 9 9'; expected the number"),
        ("pit 0 0 1 0 1 1\n", "labels/b.txt", "line 1 is 'pit 0 0 1 0 1 1'; expected the number of a label"),
    ],
)
def test_a_wrong_line_is_a_problem_and_its_image_is_not_clean(
    tmp_path: Path, text: str, file: str, message: str
) -> None:
    listing = listed(tmp_path, "images/a.jpg images/b.jpg", labels__a_txt=HALF, labels__b_txt=text)
    assert [sample.name for sample in listing.samples] == ["a"]
    assert (listing.problems[0].file, len(listing.problems)) == (file, 1)
    assert listing.problems[0].message.startswith(message)


@pytest.mark.parametrize("text", ["0 0.5 0.5 0.1 0.1", "the first image", "", "1 2 3"])
def test_boxes_and_other_texts_are_not_recognised(tmp_path: Path, text: str) -> None:
    assert not yolo.recognise(tree_of(tmp_path, "a.jpg", a_txt=text, readme_txt=HALF))


def test_without_text_files_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text file of YOLO with the name of an image; expected labels/"):
        yolo.list_samples(tree_of(tmp_path, "a.jpg"), LayoutOptions())
