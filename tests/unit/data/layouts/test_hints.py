import re
from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import find
from tinyunet.data.layouts.base import LayoutOptions
from tinyunet.data.sources.trees import FolderTree

XML = "<annotation><object><name>a</name><bndbox><xmin>1</xmin></bndbox></object></annotation>"


@pytest.mark.parametrize(
    ("names", "texts", "message"),
    [
        (
            "images/a.jpg",
            {"annotations__a_xml": XML},
            "annotations/a.xml has boxes only, and masks or polygons",
        ),
        (
            "images/a.jpg",
            {"labels__a_txt": "0 0.5 0.5 0.1 0.1"},
            "the text files have boxes only, and polygons",
        ),
        (
            "x/task-1-annotation-2-by-1-tag-pit-0.png a.jpg",
            {},
            "masks of Label Studio do not say which image",
        ),
        ("a.jpg", {"t_csv": "image,label\na.jpg,1\n"}, "t.csv has no column mask, but image, label"),
        ("a.jpg", {"t_csv": "image,mask\nb.jpg,\n"}, "t.csv names the image 'b.jpg', which does not exist"),
        ("a.jpg", {"truth__a_mat": "x"}, "truth/a.mat is a file of MATLAB; save images and masks as PNG"),
        ("a.jpg", {"b__c_nii.gz": "x"}, "b/c.nii.gz is a file of NIfTI; save images and masks as PNG"),
        (
            "good/a.jpg good/b.jpg",
            {},
            "all images are in a folder of clean images; images of defects and their",
        ),
        ("a.ppm", {}, "1 picture, such as a.ppm, is not PNG, JPEG, TIFF, BMP, WebP or GIF; convert it"),
        ("a.ppm b.ppm", {}, "2 pictures, such as a.ppm, are not PNG, JPEG, TIFF, BMP, WebP or GIF; convert"),
        ("a.jpg", {"a_json": "{}"}, "a.json is of no known format of annotations"),
        ("ground_truth/x/a.png", {}, "in ground_truth/x; all files or their folders are named after masks;"),
        ("a.jpg masks/a.svg", {}, "1 picture, such as masks/a.svg, is not PNG"),
        ("a.jpg", {"t_xlsx": "PK"}, "t.xlsx is a table of a spreadsheet program; save it as CSV"),
        ("a.jpg", {"t_txt": "image\tmask".encode("utf-16")}, "t.txt is a table of a spreadsheet program"),
        ("a.jpg", {"t_txt": "Readme".encode("utf-16")}, "; there are images, but no file or folder is named"),
        ("my-segmentation/images/a.png", {}, "no known layout (1 .png in my-segmentation/images); expected"),
        ("images/a.jpg", {"labels__a_txt": "0,.1,.1,.4"}, "labels/a.txt is of no known format of annota"),
        ("a.jpg", {}, "there are images, but no file or folder is named after masks"),
    ],
)
def test_labels_that_are_not_enough_are_named(
    tmp_path: Path, names: str, texts: dict[str, str], message: str
) -> None:
    tree = tree_of(tmp_path, names, **texts)
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        find.read_listing(tree, LayoutOptions())
    assert "\n" not in str(raised.value)


def test_a_table_that_cannot_be_read_is_noted_with_its_name(tmp_path: Path) -> None:
    tree_of(tmp_path, "images/a.jpg masks/a.png")
    (tmp_path / "t.csv").symlink_to("nowhere")
    notes = find.read_listing(FolderTree(tmp_path), LayoutOptions()).notes
    assert notes == ("not used as a table: t.csv is a broken link (to nowhere)",)


def test_a_table_that_is_not_used_beside_another_layout_is_noted_with_the_reason(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, "images/a.jpg masks/a.png", metadata_csv="file_name,label\na.jpg,1\n", x_csv="y\n1\n"
    )
    assert find.read_listing(tree, LayoutOptions()).notes == (
        "not used as a table: metadata.csv has no column mask, but file_name, label",
    )
    assert find.read_listing(tree, LayoutOptions(layout="pairs")).notes == ()
