import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.data.layouts.trees import mask_of, tree_of
from tinyunet.data.layouts.annotated import via
from tinyunet.data.layouts.base import LayoutOptions, Listing

SQUARE = {"name": "polygon", "all_points_x": [1, 3, 3, 1], "all_points_y": [1, 1, 2, 2]}
CIRCLE = {"name": "circle", "cx": 3, "cy": 2, "r": 1}
BOX = {"name": "rect", "x": 0, "y": 0, "width": 2, "height": 2}
POINT = {"name": "point", "cx": 1, "cy": 1}
EXPECTED = np.zeros((4, 6))
EXPECTED[1:3, 1:4] = 1


def entry(name: str, *shapes: Any, attributes: Any = None) -> dict[str, Any]:
    regions = [{"shape_attributes": shape, "region_attributes": attributes or {}} for shape in shapes]
    return {"filename": name, "size": 1, "regions": regions, "file_attributes": {}}


def listed(folder: Path, *names: str, **texts: str) -> Listing:
    tree = tree_of(folder, *names, **texts)
    assert via.recognise(tree)
    return via.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize(
    ("attributes", "label"),
    [({}, "defect"), ({"type": "pit"}, "pit"), ({"type": {"pit": False, "crack": True}}, "crack")],
)
@pytest.mark.parametrize("form", ["project", "export", "version 1", "csv"])
def test_every_form_of_export_is_read(tmp_path: Path, form: str, attributes: Any, label: str) -> None:
    entries = {"a.jpg1": entry("a.jpg", SQUARE, attributes=attributes), "b.jpg1": entry("b.jpg")}
    texts = {"export": {"v_json": json.dumps(entries)}}
    texts["project"] = {"v_json": json.dumps({"_via_settings": {}, "_via_img_metadata": entries})}
    first = entries["a.jpg1"] | {"regions": {"0": entries["a.jpg1"]["regions"][0]}}
    texts["version 1"] = {"v_json": json.dumps(entries | {"a.jpg1": first})}
    cells = ['"' + json.dumps(value).replace('"', '""') + '"' for value in (SQUARE, attributes)]
    header = (
        "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
    )
    rows = [f"a.jpg,1,{{}},1,0,{','.join(cells)}", "b.jpg,1,{},0,0,{},{}"]
    texts["csv"] = {"v_csv": "\n".join([header, *rows])}
    listing = listed(tmp_path, "a.jpg b.jpg", **texts[form])
    assert [(s.name, s.defective) for s in listing.samples] == [("a", None), ("b", False)]
    assert np.array_equal(mask_of(listing, "a"), EXPECTED)
    assert listing.type_names == {1: label}
    assert listing.problems == ()


def test_the_folder_of_a_file_is_that_of_its_images_and_their_split(tmp_path: Path) -> None:
    texts = {f"{split}__v_json": json.dumps({"x": entry("a.jpg", CIRCLE)}) for split in ("train", "val")}
    listing = listed(tmp_path, "train/a.jpg val/a.jpg", **texts)
    assert [(s.split, s.image.name) for s in listing.samples] == [
        ("train", "train/a.jpg"),
        ("validation", "val/a.jpg"),
    ]
    assert 3 <= mask_of(listing, "a").sum() <= 9


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([BOX], "b.jpg: has boxes only; expected polygons or masks"),
        ([POINT], "v.json: has a point in b.jpg, which has no area; expected polygons, circles or ellipses"),
        ([{"name": "polygon"}], "v.json: is no export of the VGG Image Annotator"),
    ],
)
def test_a_region_without_area_is_a_problem(tmp_path: Path, shapes: list[Any], expected: str) -> None:
    texts = {"u_json": json.dumps({"x": entry("a.jpg", SQUARE)})}
    texts["v_json"] = json.dumps({"x": entry("b.jpg", *shapes)})
    listing = listed(tmp_path, "a.jpg b.jpg", **texts)
    assert expected in [str(problem) for problem in listing.problems]
    assert [sample.name for sample in listing.samples] == ["a"]
