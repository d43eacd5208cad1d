from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import pairs_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import find
from tinyunet.data.layouts.base import LayoutOptions


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("imagesTr/part_{n:03}_0000.png", "labelsTr/part_{n:03}.png"),
        ("leftImg8bit/aachen_{n:06}_leftImg8bit.png", "gtFine/aachen_{n:06}_gtFine_labelIds.png"),
        ("train/s{n}_7.png", "train_labels/s{n}_7_L.png"),
        ("X_Training_Data/X_{n:07}.jpg", "X_Training_GroundTruth/X_{n:07}_segmentation.png"),
        ("train/{n}_sat.jpg", "train/{n}_mask.png"),
        ("images/image{n}.png", "masks/mask{n}.png"),
        ("images/{n}.png", "masks/{n:04}.png"),
        ("images/p{n}.jpg", "masks/p{n}.jpg_mask.png"),
        ("images/crack_{n}.png", "masks/crack_mask_{n}.png"),
        ("x/image{n}.png", "x/mask{n}.png"),
        ("images/p{n}.jpg", "p{n}_mask.png"),
        ("inputs/{n}.png", "targets/{n}.png"),
        ("rgb/{n}.jpg", "BW/{n}.jpg"),
        ("images/{n}_training.tif", "1st_manual/{n}_manual1.gif"),
    ],
)
def test_names_with_a_part_in_common_belong_together(tmp_path: Path, image: str, mask: str) -> None:
    expected = {image.format(n=n): mask.format(n=n) for n in (1, 2, 10)}
    listing = find.read_listing(tree_of(tmp_path, *expected, *expected.values()), LayoutOptions())
    assert pairs_of(listing) == expected
    assert (listing.layout, listing.problems) == ("pairs", ())


def test_the_message_shows_an_image_with_its_mask(tmp_path: Path) -> None:
    names = [f"images/p{n}_0000.png masks/p{n}.png" for n in (1, 2, 3)]
    listing = find.read_listing(tree_of(tmp_path, *names), LayoutOptions())
    assert listing.found == "p1_0000.png with p1.png: 3 images, 3 masks"


def test_clean_images_of_the_same_names_are_read_and_other_folders_ignored(tmp_path: Path) -> None:
    names = [f"NG/{n}.png GT/{n}.png OK/{n}.png" for n in (1, 2, 3)]
    listing = find.read_listing(tree_of(tmp_path, *names, "test/1.png test/x.png"), LayoutOptions())
    assert pairs_of(listing) == {
        **{f"NG/{n}.png": f"GT/{n}.png" for n in (1, 2, 3)},
        **{f"OK/{n}.png": None for n in (1, 2, 3)},
    }
    assert listing.ignored == ("test/1.png", "test/x.png")


@pytest.mark.parametrize(
    "names",
    [
        "images/a_1.png images/b_1.png masks/a_2.png masks/b_2.png",
        "images/1_x.png images/2_x.png images/3_x.png masks/1_y.png masks/2_y.png masks/4_y.png",
        "images/a_0.png images/a_1.png images/b_0.png images/b_1.png images/c_0.png masks/a.png masks/b.png"
        " masks/c.png",
    ],
    ids=["two masks", "a mask is left over", "an image of two channels"],
)
def test_names_that_are_not_clear_are_an_error(tmp_path: Path, names: str) -> None:
    with pytest.raises(UserError, match=r"say how they belong together with .* 'photos/\{stem\}_rgb\.jpg'"):
        find.read_listing(tree_of(tmp_path, names), LayoutOptions())
