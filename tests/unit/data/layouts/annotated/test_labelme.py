import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.layouts.trees import mask_of, pairs_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated import labelme
from tinyunet.data.layouts.annotated.shapes import pack
from tinyunet.data.layouts.base import LayoutOptions, Listing


def shape(kind: str, points: list[list[float]], label: str = "pit", **more: str) -> dict[str, Any]:
    return {"label": label, "shape_type": kind, "points": points, **more}


def annotation(*shapes: dict[str, Any], image: str = "a.jpg", **more: object) -> str:
    content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image, **more}
    return json.dumps({"imageHeight": 4, "imageWidth": 6, "imageData": None, **content})


SQUARE = shape("polygon", [[1, 1], [3, 1], [3, 2], [1, 2]])


def listed(folder: Path, *names: str, **texts: str | bytes) -> Listing:
    tree = tree_of(folder, *names, **texts)
    assert labelme.recognise(tree)
    return labelme.list_samples(tree, LayoutOptions())


def test_the_shapes_are_drawn_with_the_number_of_their_label(tmp_path: Path) -> None:
    other = shape("rectangle", [[5, 3], [4, 0]], label="crack")
    listing = listed(
        tmp_path, "a.jpg b.jpg", a_json=annotation(SQUARE, other), b_json=annotation(image="b.jpg")
    )
    expected = np.zeros((4, 6))
    expected[1:3, 1:4] = 2
    expected[:, 4:] = 1
    assert np.array_equal(mask_of(listing, "a"), expected)
    assert listing.type_names == {1: "crack", 2: "pit"}
    assert pairs_of(listing) == {"a.jpg": "a.json", "b.jpg": None}
    assert [sample.defective for sample in listing.samples] == [None, False]
    assert listing.found == "JSON files of LabelMe: 2 images, 1 mask; labels crack, pit"


@pytest.mark.parametrize(
    ("region", "pixels"),
    [
        (shape("circle", [[3, 2], [3, 3]]), 5),
        (shape("polygon", [[1, 1], [3, 1], [3, 2], [1, 2]]), 6),
        (shape("rotation", [[1, 1], [3, 1], [3, 2], [1, 2]]), 6),
        (shape("rectangle", [[1, 1], [3, 1], [3, 2], [1, 2]]), 6),
        (shape("mask", [[2, 1], [4, 3]], mask=base64.b64encode(pack(np.eye(2) > 0)).decode()), 2),
        (shape("polygon", [[0, 0], [5, 0], [5, 3]], label="_background_"), 0),
    ],
    ids=["circle", "polygon", "rotation", "four corners", "mask", "background"],
)
def test_each_kind_of_shape_with_an_area_is_drawn(
    tmp_path: Path, region: dict[str, Any], pixels: int
) -> None:
    listing = listed(tmp_path, "a.jpg", a_json=annotation(region))
    assert (mask_of(listing, "a").sum() if listing.samples[0].mask else 0) == pixels


def test_without_a_size_in_the_file_it_is_that_of_the_image(tmp_path: Path) -> None:
    listing = listed(tmp_path, "a.jpg", a_json=annotation(SQUARE, imageHeight=None))
    assert mask_of(listing, "a").shape == (4, 6)


def test_json_files_can_be_in_another_folder_and_types_and_splits_are_folders(tmp_path: Path) -> None:
    listing = listed(
        tmp_path,
        "images/train/x/a.jpg images/test/good/b.jpg images/train/y/c.jpg",
        json__a_json=annotation(SQUARE, image="..\\images\\train\\x\\a.jpg"),
        json__c_json=annotation(SQUARE, image="moved.jpg"),
    )
    assert [(s.split, s.name, s.defect_type, s.mask is None) for s in listing.samples] == [
        ("train", "x-a", "x", False),
        ("train", "y-c", "y", False),
        ("test", "good-b", "", True),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "b.json: is not JSON"),
        (annotation(SQUARE, image="c.jpg"), "b.json: is an annotation without an image; expected c.jpg"),
        (annotation(SQUARE), "b.json: is a second annotation of a.jpg beside a.json"),
        (
            annotation(shape("line", [[0, 0], [1, 1]])),
            "b.json: has a line with 2 points, which has no area; exp",
        ),
        (
            annotation(shape("polygon", [[0, 0], [1, 1]])),
            "b.json: has a polygon with 2 points, which has no area",
        ),
        (
            annotation(shape("polygon", [[0, 0], [1, "x"], [2, 2]])),
            "b.json: has a damaged shape of the label 'pit'",
        ),
        (
            annotation(shape("mask", [[0, 0], [1, 1]], mask="?")),
            "b.json: has a damaged shape of the label 'pit'",
        ),
        (annotation(shape("mask", [[0, 0], [1, 1]])), "b.json: has a damaged shape of the label 'pit'"),
    ],
)
def test_a_wrong_file_is_a_problem(tmp_path: Path, text: str, expected: str) -> None:
    listing = listed(tmp_path, "a.jpg", a_json=annotation(SQUARE), b_json=text)
    assert [str(problem)[: len(expected)] for problem in listing.problems] == [expected]
    assert len(listing.samples) == 1


def test_if_all_files_are_wrong_the_faults_are_told(tmp_path: Path) -> None:
    line = annotation(shape("line", [[0, 0], [3, 3]]))
    with pytest.raises(UserError, match=r"has 1 problem: .*a\.json"):
        listed(tmp_path, "a.jpg", a_json=line)


def test_an_image_that_was_not_annotated_is_a_problem(tmp_path: Path) -> None:
    problems = listed(tmp_path, "a.jpg b.jpg", a_json=annotation(SQUARE)).problems
    assert [str(problem) for problem in problems] == [
        "b.jpg: is an image without a mask; expected a JSON file of the same name; if it has no defect, move "
        "it to a folder named good, or say --unmasked clean"
    ]


@pytest.mark.parametrize("text", ["{}", "[]", '{"images": [], "annotations": [], "categories": []}'])
def test_json_files_of_other_programs_are_not_recognised(tmp_path: Path, text: str) -> None:
    tree = tree_of(tmp_path, "a.jpg", a_json=text)
    assert not labelme.recognise(tree)
    with pytest.raises(
        UserError, match=r"has no JSON file of LabelMe with its image; expected part\.json beside"
    ):
        labelme.list_samples(tree, LayoutOptions())
