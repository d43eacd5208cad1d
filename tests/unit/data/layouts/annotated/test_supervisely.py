import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.layouts.trees import mask_of, tree_of
from tinyunet.data.layouts.annotated import supervisely
from tinyunet.data.layouts.annotated.shapes import pack
from tinyunet.data.layouts.base import LayoutOptions, Listing

SQUARE = [[1, 1], [3, 1], [3, 3], [1, 3]]
POLYGON = {"classTitle": "pit", "geometryType": "polygon", "points": {"exterior": SQUARE, "interior": []}}
ENCODED = base64.b64encode(zlib.compress(pack(np.array([[True, False], [True, True]])))).decode()
BITMAP = {"classTitle": "crack", "geometryType": "bitmap", "bitmap": {"data": ENCODED, "origin": [4, 2]}}
BOX = {"classTitle": "pit", "geometryType": "rectangle", "points": {"exterior": [[0, 0], [2, 2]]}}
LINE = {"classTitle": "pit", "geometryType": "line", "points": {"exterior": [[0, 0], [2, 2]]}}


def annotation(*objects: Any) -> str:
    return json.dumps({"size": {"height": 4, "width": 6}, "tags": [], "objects": objects})


def listed(folder: Path, *names: str, **texts: str) -> Listing:
    tree = tree_of(folder, *names, meta_json='{"classes": []}', **texts)
    assert supervisely.recognise(tree)
    return supervisely.list_samples(tree, LayoutOptions())


def test_polygons_and_bitmaps_are_drawn(tmp_path: Path) -> None:
    listing = listed(
        tmp_path,
        "train/img/a.jpg val/img/b.jpg",
        **{"train__ann__a.jpg_json": annotation(POLYGON, BITMAP), "val__ann__b.jpg_json": annotation()},
    )
    expected = np.zeros((4, 6))
    expected[1:4, 1:4] = 2
    expected[2, 4] = expected[3, 4] = expected[3, 5] = 1
    assert np.array_equal(mask_of(listing, "a"), expected)
    assert [(s.split, s.name, s.defective) for s in listing.samples] == [
        ("train", "a", None),
        ("validation", "b", False),
    ]
    assert listing.type_names == {1: "crack", 2: "pit"}
    assert listing.problems == ()


def test_a_bitmap_is_where_it_is_not_transparent(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    colours = np.zeros((1, 2, 4), np.uint8)
    colours[0, 0] = (10, 0, 0, 255)
    Image.fromarray(colours).save(path)
    data = base64.b64encode(zlib.compress(path.read_bytes())).decode()
    one = BITMAP | {"bitmap": {"data": data, "origin": [0, 0]}}
    listing = listed(tmp_path / "set", "ds/img/a.jpg", ds__ann__a_json=annotation(one))
    assert mask_of(listing, "a").sum() == 1


def test_holes_are_not_defective(tmp_path: Path) -> None:
    around = [[0, 0], [4, 0], [4, 3], [0, 3]]
    hole = POLYGON | {"points": {"exterior": around, "interior": [[[2, 1], [2, 1], [2, 2]]]}}
    listing = listed(tmp_path, "ds/img/a.jpg", ds__ann__a_json=annotation(hole))
    assert mask_of(listing, "a").sum() == 4 * 5 - 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (annotation(BOX), "ds/img/b.jpg: has boxes only; expected polygons or masks"),
        (annotation(LINE), "ds/ann/b.json: has a line of the label 'pit', which has no area; expected"),
        ("{", "ds/ann/b.json: is not JSON of Supervisely"),
        ('{"objects": [{}]}', "ds/ann/b.json: is not JSON of Supervisely"),
    ],
)
def test_a_wrong_annotation_is_a_problem(tmp_path: Path, text: str, expected: str) -> None:
    listing = listed(
        tmp_path, "ds/img/a.jpg ds/img/b.jpg", ds__ann__a_json=annotation(POLYGON), ds__ann__b_json=text
    )
    assert str(listing.problems[0]).startswith(expected)
    assert [sample.name for sample in listing.samples] == ["a"]
