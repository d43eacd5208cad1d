import re
from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import find
from tinyunet.data.layouts.base import LayoutOptions

LABELME = '{"shapes": [], "imagePath": "a.jpg", "version": "5"}'
MVTEC = "train/good/0.png test/good/0.png test/cut/0.png ground_truth/cut/0_mask.png"


@pytest.mark.parametrize(
    ("layout", "names", "texts"),
    [
        ("pairs", "images/a.jpg masks/a.png", {}),
        ("beside", "crack/a.jpg crack/a_mask.png good/b.jpg", {}),
        ("mvtec", MVTEC, {}),
        ("table", "x/a.jpg y/b.png", {"t_csv": "image,mask\nx/a.jpg,y/b.png\n"}),
        ("labelme", "a.jpg", {"a_json": LABELME}),
        ("annotations", "images/a.jpg", {"c_json": '{"images": [], "annotations": [], "categories": []}'}),
        ("annotations", "JPEGImages/a.jpg SegmentationClass/a.png", {}),
        ("yolo", "images/a.jpg", {"labels__a_txt": "0 0 0 1 0 1 1"}),
        ("rle", "a.jpg", {"t_csv": "ImageId,EncodedPixels\na.jpg,1 2\n"}),
        ("label-studio", "a.jpg", {"p_json": '[{"id": 1, "annotations": [], "data": {"image": "a.jpg"}}]'}),
        ("supervisely", "img/a.jpg", {"ann__a_json": '{"objects": [], "size": {"height": 4, "width": 6}}'}),
        ("via", "a.jpg", {"v_json": '{"a.jpg1": {"filename": "a.jpg", "regions": []}}'}),
    ],
)
def test_each_layout_is_recognised_by_itself_alone(
    tmp_path: Path, layout: str, names: str, texts: dict[str, str]
) -> None:
    tree = tree_of(tmp_path, names, **texts)
    assert layout == find.find_layout(tree, LayoutOptions()).NAME


def test_a_listing_and_the_categories_come_from_the_layout(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, *(f"{name}/{file}" for name in ("nut", "bolt") for file in MVTEC.split()))
    assert find.find_categories(tree, LayoutOptions()) == ("bolt", "nut")
    listing = find.read_listing(tree, LayoutOptions(category="nut"))
    assert (listing.layout, listing.category, len(listing.samples)) == ("mvtec", "nut", 3)


def test_patterns_alone_mean_the_layout_pairs(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "x/a.jpg x/a_gt.png")
    options = LayoutOptions(images="x/*.jpg", masks="x/{stem}_gt.png")
    assert find.read_listing(tree, options).layout == "pairs"


WRONG: dict[str, tuple[str, dict[str, str], LayoutOptions, str]] = {
    "no files": ("", {}, LayoutOptions(), "parts holds no files; expected images and masks"),
    "text": (
        "",
        {"a_txt": "x"},
        LayoutOptions(),
        "parts has no known layout (1 .txt without folders); expected",
    ),
    "images alone": (
        "a/1.jpg a/2.jpg b/3.jpg c/4.jpg d/5.jpg",
        {},
        LayoutOptions(),
        "no known layout (5 .jpg in a, b, c and 1 more folders; there are images, but no file or folder is "
        "named after masks); expected one of dagm, dagm-development, pairs, beside, mvtec, table, labelme, "
        "annotations, yolo, rle, "
        "label-studio, supervisely, via, or say where the files are with --layout pairs "
        "--images 'photos/*.jpg' --masks 'labels/{stem}_gt.png'",
    ),
    "masks alone": (
        "masks/1.png",
        {},
        LayoutOptions(),
        "(1 .png in masks; all files or their folders are named after masks;",
    ),
    "other names": (
        "images/1.jpg masks/a1.png",
        {},
        LayoutOptions(),
        "no image with a mask of the same name: the first image is images/1.jpg, the first mask masks/a1.png",
    ),
    "two layouts": (
        "images/a.jpg masks/a.png images/b.jpg images/b_mask.png",
        {},
        LayoutOptions(),
        "parts fits the layouts pairs and beside; choose one with --layout pairs or --layout beside",
    ),
    "output of ingest": (
        "images/train/a.png masks/train/a.png",
        {"dataset_json": '{"split_origin": "given"}'},
        LayoutOptions(),
        "parts holds images that `tinyunet ingest` wrote; continue with `tinyunet convert`, or give the",
    ),
    "mask and polygon": (
        "a.jpg a.png",
        {"a_json": LABELME},
        LayoutOptions(),
        "parts fits the layouts beside and labelme; choose one",
    ),
    "unknown layout": (
        "a.jpg",
        {},
        LayoutOptions(layout="masks"),
        "--layout is 'masks'; expected one of dagm, dagm-development, pairs, beside, mvtec, table, labelme, "
        "annotations, yolo, rle, label-studio, supervisely, via",
    ),
    "patterns of another layout": (
        "a.jpg a.png",
        {},
        LayoutOptions(layout="beside", images="*.jpg", masks="{stem}.png"),
        "--images and --masks are given with --layout beside; they belong to --layout pairs",
    ),
    "layout that does not fit": (
        "a.jpg b.png",
        {},
        LayoutOptions(layout="beside"),
        "parts has no image with a mask beside it; expected files such as part.jpg and part_mask.png",
    ),
    "table that does not fit": (
        "a.jpg",
        {},
        LayoutOptions(layout="table"),
        "parts has no table that names its images; expected a CSV or JSON-lines file",
    ),
    "labelme that does not fit": (
        "a.jpg",
        {},
        LayoutOptions(layout="labelme"),
        "parts has no JSON file of LabelMe with its image; expected part.json beside part.jpg",
    ),
    "annotations that do not fit": (
        "a.jpg",
        {},
        LayoutOptions(layout="annotations"),
        "parts has no annotations of COCO, CVAT, Datumaro, LabelMe (XML), Pascal VOC; export them as one",
    ),
    "mvtec that does not fit": (
        "train/good/1.png",
        {},
        LayoutOptions(layout="mvtec"),
        "parts has no folders train/good, test/<type> and ground_truth/<type>; expected the layout",
    ),
}


@pytest.mark.parametrize(("names", "texts", "options", "message"), WRONG.values(), ids=WRONG)
def test_a_source_that_cannot_be_read_is_one_line(
    tmp_path: Path, names: str, texts: dict[str, str], options: LayoutOptions, message: str
) -> None:
    tree = tree_of(tmp_path, names, **texts)
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        find.read_listing(tree, options)
    assert "\n" not in str(raised.value)


def test_a_table_that_names_the_images_has_precedence_over_their_folders(tmp_path: Path) -> None:
    pictures = "images/a.jpg masks/a.png images/b.jpg masks/b.png"
    tree = tree_of(tmp_path, pictures, t_csv="image,mask\nimages/b.jpg,\nimages/a.jpg,masks/a.png\n")
    assert find.find_layout(tree, LayoutOptions()).NAME == "table"


@pytest.mark.parametrize(
    ("files", "layout"), [("train/a.jpg train_masks/a.png", "pairs"), ("train/a.jpg train/a.png", "beside")]
)
def test_masks_as_files_are_read_where_a_table_has_them_as_runs_too(
    tmp_path: Path, files: str, layout: str
) -> None:
    tree = tree_of(tmp_path, files, train_csv="img,rle_mask\na.jpg,1 2\n")
    assert layout == find.find_layout(tree, LayoutOptions()).NAME
