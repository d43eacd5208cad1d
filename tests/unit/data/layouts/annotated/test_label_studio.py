import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.layouts.trees import mask_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated import label_studio
from tinyunet.data.layouts.base import LayoutOptions, Listing

HALF = {"points": [[50, 0], [100, 0], [100, 100], [50, 100]], "polygonlabels": ["pit"]}
RIGHT = np.repeat([[0, 0, 0, 1, 1, 1]], 4, axis=0)


def region(value: dict[str, Any]) -> dict[str, Any]:
    return {"original_width": 6, "original_height": 4, "value": value, "from_name": "label", "type": "x"}


def task(image: str, *values: dict[str, Any]) -> dict[str, Any]:
    done = {"id": 1, "was_cancelled": False, "result": [region(value) for value in values]}
    return {"id": 1, "annotations": [done], "data": {"image": image}}


def encode(levels: np.ndarray) -> list[int]:
    """Return levels as a brush of one repeated run for each level, as the documentation of its bits says."""
    bits = f"{levels.size:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += "".join(f"1{0:02b}{0:03b}{level:08b}" for level in levels.ravel())
    bits += "0" * (-len(bits) % 8)
    return [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]


def listed(folder: Path, tasks: list[Any], *names: str) -> Listing:
    tree = tree_of(folder, *names, project_json=json.dumps(tasks))
    assert label_studio.recognise(tree)
    return label_studio.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/1/0a1b2c3d-a.jpg",
        "/data/local-files/?d=line/images/a.jpg",
        "s3://bucket/line/a.jpg",
        "https://host/x/a.jpg?token=1",
    ],
)
def test_the_image_of_a_task_is_found_by_its_name(tmp_path: Path, address: str) -> None:
    listing = listed(
        tmp_path, [task(address, HALF), task("/data/upload/1/b.jpg")], "images/a.jpg images/b.jpg"
    )
    assert [(s.name, s.defective) for s in listing.samples] == [("a", None), ("b", False)]
    assert np.array_equal(mask_of(listing, "a"), RIGHT)
    assert listing.type_names == {1: "pit"}


def test_brushes_are_decoded(tmp_path: Path) -> None:
    levels = np.zeros((4, 6, 4), np.uint8)
    levels[..., 3] = RIGHT * 255
    brush = {"format": "rle", "rle": encode(levels), "brushlabels": ["stain"]}
    listing = listed(tmp_path, [task("a.jpg", brush)], "a.jpg")
    assert np.array_equal(mask_of(listing, "a"), RIGHT)
    assert listing.type_names == {1: "stain"}


def test_a_brush_may_list_levels_one_by_one() -> None:
    bits = f"{3:032b}{7:05b}" + "0010" * 4 + f"0{0:02b}{2:03b}" + "".join(f"{n:08b}" for n in (5, 6, 7)) + "0"
    bits += "0" * (-len(bits) % 8)
    numbers = [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]
    assert label_studio.decode_brush(numbers).tolist() == [5, 6, 7]


def test_the_short_export_is_read(tmp_path: Path) -> None:
    short = {"image": "a.jpg", "id": 1, "annotation_id": 2, "label": [{**HALF, "original_width": 6}]}
    listing = listed(tmp_path, [short], "a.jpg")
    assert np.array_equal(mask_of(listing, "a"), RIGHT)


def test_an_image_with_boxes_only_is_a_problem(tmp_path: Path) -> None:
    box = {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["pit"]}
    listing = listed(tmp_path, [task("a.jpg", HALF), task("b.jpg", box)], "a.jpg b.jpg")
    assert [str(problem) for problem in listing.problems] == [
        "b.jpg: has boxes only; expected polygons or masks"
    ]


def test_a_task_that_nobody_has_annotated_is_no_clean_image(tmp_path: Path) -> None:
    new = {"id": 2, "annotations": [], "data": {"image": "b.jpg"}}
    skipped = {"id": 3, "annotations": [{"was_cancelled": True, "result": []}], "data": {"image": "c.jpg"}}
    listing = listed(tmp_path, [task("a.jpg", HALF), new, skipped], "a.jpg b.jpg c.jpg")
    assert [sample.name for sample in listing.samples] == ["a"]
    assert [str(problem) for problem in listing.problems] == [
        f"{name}.jpg: is an image that is not in the annotations" for name in "bc"
    ]


def test_an_ellipse_may_be_turned(tmp_path: Path) -> None:
    """Turned by a quarter, it is as high as it was wide; the image has 6×4 pixels."""
    flat = {"x": 50, "y": 50, "radiusX": 30, "radiusY": 10, "ellipselabels": ["pit"]}
    listing = listed(tmp_path, [task("a.jpg", flat), task("b.jpg", {**flat, "rotation": 90})], "a.jpg b.jpg")
    extents = [np.ptp(np.nonzero(mask_of(listing, name)), axis=1).tolist() for name in "ab"]
    assert extents[0][0] < extents[0][1]
    assert extents[1][0] > extents[1][1]


@pytest.mark.parametrize(
    "content", ['[{"annotations": ', '[{"annotations": 1}]', '[{"annotations": [], "data": {}}]']
)
def test_another_list_is_an_error(tmp_path: Path, content: str) -> None:
    tree = tree_of(tmp_path, "a.jpg", p_json=content)
    with pytest.raises(UserError, match=r"p\.json is not a JSON export of Label Studio; export it again"):
        label_studio.list_samples(tree, LayoutOptions())
