from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import pairs_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import beside
from tinyunet.data.layouts.base import LayoutOptions, Listing


def listed(folder: Path, *names: str) -> Listing:
    tree = tree_of(folder, *names)
    assert beside.recognise(tree)
    return beside.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("x.jpg", "x_mask.png"),
        ("x.png", "x_GT.png"),
        ("kos01/Part0.jpg", "kos01/Part0_label.bmp"),
        ("x.bmp", "X-Seg.PNG"),
        ("x.jpg", "x.png"),
        ("x.tif", "x.png"),
        ("x.bmp", "x.png"),
        ("X.JPG", "x.bmp"),
        ("crack_seg.jpg", "crack_seg_mask.png"),
        ("x.jfif", "x.png"),
        ("x.tif", "x_mask.gif"),
    ],
)
def test_the_mask_has_another_end_or_a_later_extension(tmp_path: Path, image: str, mask: str) -> None:
    listing = listed(tmp_path, image, mask)
    assert pairs_of(listing) == {image: mask}
    assert listing.problems == ()


def test_the_folder_that_varies_is_the_type_of_the_defect(tmp_path: Path) -> None:
    names = [f"MT_{kind}/Imgs/{n}.{e}" for kind in ("Blowhole", "Free") for n in "12" for e in ("jpg", "png")]
    listing = listed(tmp_path, *names)
    assert [(s.name, s.defect_type, s.defective) for s in listing.samples] == [
        ("MT_Blowhole-1", "MT_Blowhole", None),
        ("MT_Blowhole-2", "MT_Blowhole", None),
        ("MT_Free-1", "", None),
        ("MT_Free-2", "", None),
    ]
    assert listing.found == (
        "masks beside their images, such as 1.jpg and 1.png: 4 images, 4 masks; types MT_Blowhole"
    )


def test_a_folder_named_good_needs_no_masks(tmp_path: Path) -> None:
    listing = listed(tmp_path, "crack/1.jpg crack/1_mask.png good/1.jpg")
    assert pairs_of(listing) == {"crack/1.jpg": "crack/1_mask.png", "good/1.jpg": None}
    assert [sample.defective for sample in listing.samples] == [None, False]


@pytest.mark.parametrize(
    ("pairs", "clean"),
    [
        ({"ng/weld_seg_01.jpg": "ng/weld_seg_01_mask.png"}, [f"good/weld_seg_0{n}.jpg" for n in (4, 5, 6)]),
        ({"bottle_label_3.jpg": "bottle_label_3_mask.png", "bottle.jpg": "bottle_GT.png"}, []),
    ],
)
def test_a_name_with_a_number_at_its_end_is_that_of_an_image(
    tmp_path: Path, pairs: dict[str, str], clean: list[str]
) -> None:
    listing = listed(tmp_path, *pairs, *pairs.values(), *clean)
    assert pairs_of(listing) == pairs | dict.fromkeys(clean)
    assert listing.problems == ()


def test_splits_are_no_types(tmp_path: Path) -> None:
    listing = listed(tmp_path, "train/1.png train/1_GT.png test/1.png test/1_GT.png")
    assert [(s.split, s.name, s.defect_type) for s in listing.samples] == [
        ("train", "1", ""),
        ("test", "1", ""),
    ]


@pytest.mark.parametrize(("parts", "group"), [(9, ""), (10, "kos00")])
def test_many_numbered_folders_are_groups(tmp_path: Path, parts: int, group: str) -> None:
    listing = listed(tmp_path, *(f"kos{n:02d}/P.jpg kos{n:02d}/P_label.bmp" for n in range(parts)))
    assert (listing.samples[0].group, listing.samples[0].defect_type) == (group, "")
    assert len({sample.name for sample in listing.samples}) == parts


def test_ten_folders_of_one_image_beside_clean_images_are_no_types(tmp_path: Path) -> None:
    parts = [f"{letter}/1.jpg {letter}/1_mask.png" for letter in "abcdefghij"]
    listing = listed(tmp_path, *parts, "good/1.jpg good/2.jpg")
    assert {sample.defect_type for sample in listing.samples} == {""}
    listing = listed(tmp_path, "a/2.jpg a/2_mask.png")
    assert {sample.defect_type for sample in listing.samples} == {"", *"abcdefghij"}


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            "y.jpg",
            "y.jpg: is an image without a mask; expected a mask beside it, as x_mask.png is that of x.jpg",
        ),
        ("z_mask.png", "z_mask.png: is a mask without an image"),
        ("bad/y.jpg", "bad/y.jpg: is an image without a mask"),
        ("x.bmp", "x.jpg: is a second image of the same name beside x.bmp"),
    ],
)
def test_a_file_without_its_counterpart_is_a_problem(tmp_path: Path, extra: str, expected: str) -> None:
    listing = listed(tmp_path, "x.jpg x_mask.png", extra)
    assert [str(problem)[: len(expected)] for problem in listing.problems] == [expected]


@pytest.mark.parametrize(
    "names",
    ["x.jpg y.png", "a/x.jpg b/x.png", "x.jpg", "x.jpg x.jpeg x.png", "a.jpg a_mask1.png a_mask2.png"],
)
def test_other_folders_are_not_recognised(tmp_path: Path, names: str) -> None:
    tree = tree_of(tmp_path, names)
    assert not beside.recognise(tree)
    with pytest.raises(UserError, match=r"no image with a mask beside it; expected files such as part.jpg"):
        beside.list_samples(tree, LayoutOptions())


def test_images_without_a_mask_are_clean_if_the_options_say_so(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "crack/1.jpg crack/1_mask.png crack/2.jpg")
    listing = beside.list_samples(tree, LayoutOptions(unmasked="clean"))
    assert [sample.defective for sample in listing.samples] == [None, False]
    assert pairs_of(listing) == {"crack/1.jpg": "crack/1_mask.png", "crack/2.jpg": None}
    assert listing.problems == ()


def test_the_images_of_a_split_without_any_mask_are_ignored_and_said(tmp_path: Path) -> None:
    listing = listed(tmp_path, "train/a.png train/a_mask.png test/b.png")
    assert pairs_of(listing) == {"train/a.png": "train/a_mask.png"}
    assert listing.notes == ("images of a split without any mask are ignored: 1, such as test/b.png",)
    assert listing.problems == ()
