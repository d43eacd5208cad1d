"""Small exports of annotation programs; Datumaro reads them."""

import builtins
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.layouts.trees import mask_of, pairs_of, picture, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated import annotations, formats
from tinyunet.data.layouts.base import LayoutOptions, Listing

SQUARE = [1, 1, 3, 1, 3, 2, 1, 2]  # the corners of 3 × 2 pixels of an image of 6 × 4
FRAME = {
    "counts": [4, 3, 1, 1, 1, 1, 1, 3, 9],
    "size": [4, 6],
}  # the border of 3 × 3 pixels, column by column
CATEGORIES = [{"id": 7, "name": "pit"}, {"id": 9, "name": "crack"}]
EXPECTED = np.zeros((4, 6), np.uint8)
EXPECTED[1:3, 1:4] = 2


def coco(images: dict[str, list[tuple[int, Any]]], **more: Any) -> str:
    """Return a file of COCO: category and segmentation of the regions of each image."""
    files = [{"id": n, "file_name": name, "width": 6, "height": 4} for n, name in enumerate(images, start=1)]
    regions = [
        {"image_id": n, "category_id": category, "segmentation": region, "bbox": [0, 0, 3, 3], "area": 9}
        for n, found in enumerate(images.values(), start=1)
        for category, region in found
    ]
    numbered = [
        {"id": n, "iscrowd": int(isinstance(region["segmentation"], dict)), **region}
        for n, region in enumerate(regions, start=1)
    ]
    return json.dumps({"images": files, "annotations": numbered, "categories": CATEGORIES, **more})


def cvat(body: str) -> str:
    labels = "".join(f"<label><name>{name}</name><attributes/></label>" for name in ("pit", "crack"))
    meta = f"<version>1.1</version><meta><task><name>t</name><labels>{labels}</labels></task></meta>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>{meta}{body}</annotations>'


def labelme_xml(name: str, objects: str) -> str:
    size = "<imagesize><nrows>4</nrows><ncols>6</ncols></imagesize>"
    return (
        f"<annotation><filename>{name}</filename><folder>train</folder><source/>{size}{objects}</annotation>"
    )


def datumaro(name: str, regions: list[dict[str, Any]]) -> str:
    labels = [{"name": label, "parent": "", "attributes": []} for label in ("pit", "crack")]
    item = {"id": Path(name).stem, "annotations": regions, "image": {"path": name, "size": [4, 6]}}
    categories = {"label": {"labels": labels, "attributes": []}}
    return json.dumps({"dm_format_version": "1.0", "infos": {}, "categories": categories, "items": [item]})


def indexed(values: np.ndarray) -> bytes:
    """Return a mask in the colours of labelmap.txt: pit is red, crack is green."""
    picture = Image.fromarray(values.astype(np.uint8)).convert("P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def listed(folder: Path, *names: str, **texts: str | bytes) -> Listing:
    tree = tree_of(folder, *names, **texts)
    assert annotations.recognise(tree)
    return annotations.list_samples(tree, LayoutOptions())


def test_coco_has_polygons_and_encoded_regions_with_holes(tmp_path: Path) -> None:
    listing = listed(
        tmp_path,
        "images/train/a.jpg images/train/b.jpg images/val/a.jpg",
        annotations__instances_train_json=coco({"a.jpg": [(7, [SQUARE])], "b.jpg": []}),
        annotations__instances_val_json=coco({"a.jpg": [(9, FRAME)]}),
    )
    assert [(s.split, s.name, s.image.name, s.mask is None) for s in listing.samples] == [
        ("train", "a", "images/train/a.jpg", False),
        ("train", "b", "images/train/b.jpg", True),
        ("validation", "a", "images/val/a.jpg", False),
    ]
    assert np.array_equal(mask_of(listing, "a"), EXPECTED)
    mask = listing.samples[2].mask
    assert mask is not None
    frame = np.zeros((4, 6))
    frame[:3, 1:4] = 1
    frame[1, 2] = 0
    with Image.open(io.BytesIO(mask.read())) as image:
        assert np.array_equal(np.asarray(image), frame)
    assert listing.type_names == {1: "crack", 2: "pit"}
    assert (listing.problems, listing.ignored) == ((), ())


def test_coco_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    text = coco({"a.jpg": [(7, [SQUARE])]})
    data = (text if isinstance(text, str) else text.decode()).encode("utf-8-sig")
    assert [sample.name for sample in listed(tmp_path, "a.jpg", coco_json=data).samples] == ["a"]


def test_coco_can_be_one_file_in_each_folder_of_images(tmp_path: Path) -> None:
    listing = listed(
        tmp_path,
        "set/train/a.jpg set/test/b.jpg",
        set__train__coco_json=coco({"a.jpg": [(7, [SQUARE])]}),
        set__test__coco_json=coco({"b.jpg": []}),
    )
    assert [(s.split, s.name, s.defective) for s in listing.samples] == [
        ("train", "a", None),
        ("test", "b", False),
    ]


def test_cvat_has_polygons_and_encoded_regions(tmp_path: Path) -> None:
    points = "1,1;3,1;3,2;1,2"
    body = (
        f'<image id="0" name="x/a.jpg" width="6" height="4"><polygon label="pit" points="{points}"/>'
        '<mask label="crack" rle="1, 1, 1, 1" left="4" top="2" width="2" height="2" z_order="1"/></image>'
        '<image id="1" name="b &amp; c.jpg" width="6" height="4"></image>'
    )
    listing = listed(
        tmp_path, "images/x/a.jpg", annotations_xml=cvat(body), **{"images__b & c_jpg": picture()}
    )
    expected = EXPECTED.copy()
    expected[2, 5] = expected[3, 5] = 1
    assert np.array_equal(mask_of(listing, "a"), expected)
    assert pairs_of(listing)["images/b & c.jpg"] is None


def test_labelme_xml_has_polygons_and_masks(tmp_path: Path) -> None:
    corners = "".join(
        f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)
    )
    region = f"<object><name>pit</name><deleted>0</deleted><id>0</id><polygon>{corners}</polygon></object>"
    listing = listed(
        tmp_path,
        "Images/train/a.jpg Images/train/b.jpg",
        Annotations__train__a_xml=labelme_xml("a.jpg", region),
        Annotations__train__b_xml=labelme_xml("b.jpg", ""),
    )
    assert [(s.split, s.name, s.defective) for s in listing.samples] == [
        ("train", "a", None),
        ("train", "b", False),
    ]
    assert np.array_equal(mask_of(listing, "a"), EXPECTED / 2)


def test_pascal_voc_has_masks_in_the_colours_of_its_labels(tmp_path: Path) -> None:
    listing = listed(
        tmp_path,
        "VOC/JPEGImages/a.jpg VOC/JPEGImages/b.jpg VOC/JPEGImages/boxes.jpg",
        VOC__labelmap_txt="# label:color_rgb:parts:actions\n"
        "background:0,0,0::\npit:255,0,0::\ncrack:0,255,0::\n",
        VOC__ImageSets__Segmentation__train_txt="a\n",
        VOC__ImageSets__Segmentation__val_txt="b\n",
        VOC__ImageSets__Segmentation__trainval_txt="a\nb\n",
        VOC__SegmentationClass__a_png=indexed(EXPECTED / 2),
        VOC__SegmentationClass__b_png=indexed(EXPECTED),
    )
    assert [(s.split, s.name) for s in listing.samples] == [("train", "a"), ("validation", "b")]
    assert np.array_equal(mask_of(listing, "a"), EXPECTED)
    assert np.array_equal(mask_of(listing, "b"), EXPECTED / 2)
    assert listing.ignored == ("VOC/ImageSets/Segmentation/trainval.txt", "VOC/JPEGImages/boxes.jpg")


def test_datumaro_is_the_format_of_geti(tmp_path: Path) -> None:
    region = {
        "id": 0,
        "type": "polygon",
        "label_id": 0,
        "points": SQUARE,
        "z_order": 0,
        "group": 0,
        "attributes": {},
    }
    listing = listed(
        tmp_path,
        "images/train/a.jpg images/test/b.jpg",
        annotations__train_json=datumaro("a.jpg", [region]),
        annotations__test_json=datumaro("b.jpg", []),
    )
    assert listing.found == "Datumaro annotations: 2 images, 1 mask; train, test; labels pit"
    assert np.array_equal(mask_of(listing, "a"), EXPECTED / 2)


@pytest.mark.parametrize(
    ("images", "regions", "expected"),
    [
        ("a.jpg b.jpg", {"a.jpg": [(7, [SQUARE])]}, "b.jpg: is an image that is not in the annotations"),
        ("a.jpg", {"a.jpg": [], "b.jpg": []}, "b.jpg: is in the annotations, but not in the source"),
        (
            "a.jpg b.jpg",
            {"a.jpg": [], "b.jpg": [(7, [])]},
            "b.jpg: has boxes only; expected polygons or masks",
        ),
        (
            "x/a.jpg y/b.jpg z/b.jpg",
            {"a.jpg": [], "b.jpg": []},
            "b.jpg: is in the annotations, but not in the",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_a_problem(
    tmp_path: Path, images: str, regions: dict[str, list[tuple[int, Any]]], expected: str
) -> None:
    listing = listed(tmp_path, images, coco_json=coco(regions))
    assert str(listing.problems[0]).startswith(expected)
    assert len(listing.samples) == 1


def test_annotations_of_other_images_are_an_error(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "x.jpg", coco_json=coco({"a.jpg": []}))
    with pytest.raises(
        UserError, match=r"COCO annotations, but of no image in it; a\.jpg: is in the annotations"
    ):
        annotations.list_samples(tree, LayoutOptions())


def test_a_damaged_file_is_one_line_with_the_reason(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "a.jpg", annotations_xml="<annotations><version>1.1</version></annotations>")
    with pytest.raises(
        UserError, match=r"parts has CVAT annotations that cannot be read \(.*\); export"
    ) as raised:
        annotations.list_samples(tree, LayoutOptions())
    assert "\n" not in str(raised.value)
    assert "/tmp" not in str(raised.value)


def test_without_datumaro_the_error_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **keywords: Any) -> Any:
        if name == "datumaro":
            raise ImportError(name)
        return original(name, *args, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    tree = tree_of(tmp_path, "a.jpg", coco_json=coco({"a.jpg": []}))
    with pytest.raises(
        UserError, match=r"which reads them, is not installed; pip install 'tinyunet\[annotations\]'"
    ):
        annotations.list_samples(tree, LayoutOptions())


def test_annotations_of_coco_without_an_image_are_noted(tmp_path: Path) -> None:
    content = json.loads(coco({"a.jpg": [(7, [SQUARE])], "b.jpg": [(7, [SQUARE])]}))
    content["images"][1]["id"] = 3
    listing = listed(tmp_path, "a.jpg", "b.jpg", coco_json=json.dumps(content))
    (note,) = listing.notes
    assert note == "annotations of coco.json whose image_id is that of no image are not used: 1, such as 2"


def test_only_the_instances_of_an_export_of_coco_with_several_tasks_are_read(tmp_path: Path) -> None:
    texts = {f"annotations__{task}_train_json": coco({}) for task in ("instances", "stuff", "captions")}
    assert formats.detect(tree_of(tmp_path, "a.jpg", **texts)) == (
        "coco_instances",
        ["annotations/instances_train.json"],
    )


def test_a_label_of_coco_with_the_number_0_keeps_its_name(tmp_path: Path) -> None:
    labels = [{"id": 0, "name": "scratch"}, {"id": 1, "name": "dent"}]
    text = coco({"a.jpg": [(0, [SQUARE])], "b.jpg": [(1, [SQUARE])]}, categories=labels)
    listing = listed(tmp_path, "a.jpg b.jpg", result_json=text)
    assert listing.type_names == {1: "dent", 2: "scratch"}
    assert np.array_equal(mask_of(listing, "a"), EXPECTED)
    assert np.array_equal(mask_of(listing, "b"), EXPECTED / 2)


LABELS = "# label:color_rgb:parts:actions\nbackground:0,0,0::\n{}:255,0,0::\n"


def test_two_folders_of_pascal_voc_keep_their_labels_and_images_of_equal_names(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {}
    for line, label in (("one", "pit"), ("two", "crack")):
        files |= {
            f"{line}__labelmap_txt": LABELS.format(label),
            f"{line}__ImageSets__Segmentation__default_txt": "a\n",
            f"{line}__SegmentationClass__a_png": indexed(EXPECTED / 2),
        }
    listing = listed(tmp_path, "one/JPEGImages/a.jpg two/JPEGImages/a.jpg", **files)
    assert [(s.name, s.image.name) for s in listing.samples] == [
        ("a", "one/JPEGImages/a.jpg"),
        ("a-2", "two/JPEGImages/a.jpg"),
    ]
    assert listing.type_names == {1: "crack", 2: "pit"}
    assert np.array_equal(mask_of(listing, "a"), EXPECTED)
    assert np.array_equal(mask_of(listing, "a-2"), EXPECTED / 2)
    assert listing.problems == ()


def test_pascal_voc_without_labels_has_masks_as_they_are(tmp_path: Path) -> None:
    listing = listed(
        tmp_path,
        "x/JPEGImages/a.jpg x/JPEGImages/b.jpg x/JPEGImages/boxes.jpg",
        x__ImageSets__Segmentation__train_txt="a\n",
        x__ImageSets__Segmentation__val_txt="b\nc\n",
        x__SegmentationClass__a_png=indexed(EXPECTED / 2),
        x__SegmentationClass__b_png=indexed(EXPECTED),
        x__SegmentationClass__c_png=indexed(EXPECTED),
        x__SegmentationClass__unlisted_png=indexed(EXPECTED),
        class_names_txt="_background_\npit\ncrack\n",
    )
    assert [(s.split, s.name, s.defective) for s in listing.samples] == [
        ("train", "a", None),
        ("validation", "b", None),
    ]
    assert pairs_of(listing)["x/JPEGImages/a.jpg"] == "x/SegmentationClass/a.png"
    assert listing.type_names == {1: "pit", 2: "crack"}
    assert [str(problem) for problem in listing.problems] == [
        "x/SegmentationClass/c.png: is a mask without an image; expected one in JPEGImages"
    ]


def test_pascal_voc_without_an_image_is_an_error(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "SegmentationClass/a.png")
    with pytest.raises(
        UserError, match="no image in JPEGImages with a mask of its name in SegmentationClass"
    ):
        annotations.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize("start", ["/srv/x/", "../../", "C:\\\\data\\\\", "./../"])
def test_paths_of_coco_outside_of_its_folder_are_found_by_their_end(tmp_path: Path, start: str) -> None:
    text = coco({f"{start}images/a.jpg": [(9, [SQUARE])]})
    listing = listed(tmp_path, "images/a.jpg", a_json=text)
    assert pairs_of(listing) == {"images/a.jpg": "the mask of images/a.jpg"}
    assert (listing.problems, listing.notes) == ((), ())


def test_a_folder_that_a_path_of_coco_leaves_again_is_none_of_its_folders(tmp_path: Path) -> None:
    text = coco({"p/x/../a.jpg": [(9, [SQUARE])]})
    listing = listed(tmp_path, "p/a.jpg q/a.jpg", a_json=text)
    assert pairs_of(listing)["p/a.jpg"] == "the mask of p/a.jpg"


def test_lines_alone_are_a_problem_and_lines_or_boxes_beside_regions_are_said(tmp_path: Path) -> None:
    line = '<polyline label="pit" points="1,1;3,1;3,2" z_order="0" occluded="0"/>'
    box = '<box label="pit" xtl="1" ytl="1" xbr="3" ybr="2" z_order="0" occluded="0"/>'
    polygon = line.replace("polyline", "polygon")
    bodies = [line, polygon + box + line, polygon]
    images = [
        f'<image id="{n}" name="{n}.jpg" width="6" height="4">{body}</image>' for n, body in enumerate(bodies)
    ]
    listing = listed(tmp_path, "0.jpg 1.jpg 2.jpg", a_xml=cvat("".join(images)))
    assert [str(problem) for problem in listing.problems] == [
        "0.jpg: has lines only; expected polygons or masks"
    ]
    assert listing.notes == ("boxes and lines of 1 image are not used, such as those of images/1.jpg",)
