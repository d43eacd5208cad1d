from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.layouts.trees import mask_of, pairs_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import mvtec
from tinyunet.data.layouts.base import LayoutOptions
from tinyunet.data.layouts.find import find_layout
from tinyunet.data.pictures.decode import encode_png

BOTTLE = (
    "train/good/000.png train/good/001.png "
    "test/good/000.png test/broken_large/000.png test/contamination/000.png "
    "ground_truth/broken_large/000_mask.png ground_truth/contamination/000_mask.png"
)


def category(name: str, files: str = BOTTLE) -> str:
    return " ".join(f"{name}/{file}" for file in files.split())


def test_a_category_is_split_again_because_its_training_images_are_clean(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, BOTTLE, readme_txt="x")
    assert mvtec.recognise(tree)
    assert mvtec.categories(tree) == ()
    listing = mvtec.list_samples(tree, LayoutOptions())
    assert [(s.name, s.split, s.defect_type, s.defective) for s in listing.samples] == [
        ("broken_large-000", "", "broken_large", None),
        ("contamination-000", "", "contamination", None),
        ("good-000", "", "", False),
        ("train-good-000", "", "", False),
        ("train-good-001", "", "", False),
    ]
    assert "not comparable" in listing.notes[0]
    assert "not comparable with published anomaly-detection numbers" in listing.notes[0]
    assert (listing.problems, listing.ignored) == ((), ("readme.txt",))


def test_a_source_of_several_categories_is_read_by_category(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, category("mvtec/bottle"), category("mvtec/cable"), mvtec__license_txt="x")
    assert mvtec.categories(tree) == ("bottle", "cable")
    listing = mvtec.list_samples(tree, LayoutOptions(category="cable"))
    assert listing.category == "cable"
    assert listing.found == "MVTec AD, category cable: 5 images, 2 masks; types broken_large, contamination"
    assert all(image.startswith("mvtec/cable/") for image in pairs_of(listing))


def test_the_only_category_needs_no_name(tmp_path: Path) -> None:
    assert mvtec.list_samples(tree_of(tmp_path, category("bottle")), LayoutOptions()).category == "bottle"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", r"parts has the categories bottle, cable; choose one with --category"),
        ("screw", r"category is 'screw', but parts has the categories bottle, cable; choose one"),
    ],
)
def test_a_category_has_to_be_one_of_several(tmp_path: Path, given: str, message: str) -> None:
    tree = tree_of(tmp_path, category("bottle"), category("cable"))
    with pytest.raises(UserError, match=message):
        mvtec.list_samples(tree, LayoutOptions(category=given))


def test_other_data_sets_of_this_form_have_other_names_of_clean_images_and_masks(tmp_path: Path) -> None:
    names = "train/ok/1.bmp test/ok/2.bmp test/ko/3.bmp ground_truth/ko/3.png"
    listing = mvtec.list_samples(tree_of(tmp_path, names), LayoutOptions())
    assert pairs_of(listing) == {
        "test/ko/3.bmp": "ground_truth/ko/3.png",
        "test/ok/2.bmp": None,
        "train/ok/1.bmp": None,
    }


def test_a_given_split_is_kept_if_there_are_defects_to_train_on(tmp_path: Path) -> None:
    extra = "train/scratch/7.png ground_truth/scratch/7_mask.png"
    listing = mvtec.list_samples(tree_of(tmp_path, BOTTLE, extra), LayoutOptions())
    assert listing.notes == ()
    assert [s.split for s in listing.samples] == ["train"] * 3 + ["test"] * 3


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            "test/broken_large/001.png",
            "test/broken_large/001.png: is an image without a mask; expected "
            "ground_truth/broken_large/001_mask.png",
        ),
        (
            "ground_truth/broken_large/9_mask.png",
            "ground_truth/broken_large/9_mask.png: is a mask without an image",
        ),
    ],
)
def test_a_file_without_its_counterpart_is_a_problem(tmp_path: Path, extra: str, expected: str) -> None:
    listing = mvtec.list_samples(tree_of(tmp_path, BOTTLE, extra), LayoutOptions())
    assert [str(problem) for problem in listing.problems] == [expected]


@pytest.mark.parametrize(
    "names",
    [
        "train/good/1.png test/bad/1.png",
        "train/a/1.png test/a/1.png ground_truth/a/1_mask.png",
        "train/1.png test/1.png ground_truth/1.png",
        "images/1.png masks/1.png",
    ],
)
def test_other_folders_are_not_recognised(tmp_path: Path, names: str) -> None:
    tree = tree_of(tmp_path, names)
    assert not mvtec.recognise(tree)
    with pytest.raises(
        UserError, match="no folders train/good, test/<type> and ground_truth/<type>; expected"
    ):
        mvtec.list_samples(tree, LayoutOptions())


LOCO = (
    "train/good/000.png validation/good/000.png test/good/000.png "
    "test/logical_anomalies/000.png test/structural_anomalies/000.png "
    "ground_truth/logical_anomalies/000/000.png ground_truth/logical_anomalies/000/001.png "
    "ground_truth/structural_anomalies/000/000.png"
)


def test_the_masks_of_an_image_of_mvtec_loco_are_joined(tmp_path: Path) -> None:
    left, right = (np.pad(np.full((4, 2), 255, np.uint8), ((0, 0), sides)) for sides in ((0, 4), (4, 0)))
    right[right > 0] = 253  # MVTec LOCO AD has another value for each kind of defect
    folder = "breakfast_box__ground_truth__logical_anomalies__000__"
    texts = {f"{folder}{n}_png": encode_png(pixels) for n, pixels in (("000", left), ("001", right))}
    tree = tree_of(
        tmp_path, category("breakfast_box", LOCO), breakfast_box__defects_config_json="[]", **texts
    )
    assert find_layout(tree, LayoutOptions()) is mvtec
    listing = mvtec.list_samples(tree, LayoutOptions())
    assert [(s.name, s.split, s.defect_type, s.mask is not None) for s in listing.samples] == [
        ("good-000", "", "", False),
        ("logical_anomalies-000", "", "logical_anomalies", True),
        ("structural_anomalies-000", "", "structural_anomalies", True),
        ("train-good-000", "", "", False),
        ("validation-good-000", "", "", False),
    ]
    assert "not comparable" in listing.notes[0]
    assert (listing.problems, listing.ignored) == ((), ("breakfast_box/defects_config.json",))
    joined = mask_of(listing, "logical_anomalies-000") > 0
    np.testing.assert_array_equal(joined, (left > 0) | (right > 0))
    values = {value: name for value, name in listing.type_names.items() if name == "logical_anomalies"}
    assert set(values) == set(np.unique(mask_of(listing, "logical_anomalies-000"))) - {0}


def test_a_folder_of_masks_without_an_image_is_a_problem(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, LOCO, "ground_truth/logical_anomalies/007/000.png")
    assert [str(problem) for problem in mvtec.list_samples(tree, LayoutOptions()).problems] == [
        "ground_truth/logical_anomalies/007/000.png: is a mask without an image"
    ]


def test_the_colours_of_mvtec_3d_are_read_without_the_heights(tmp_path: Path) -> None:
    kinds = ("train/good", "validation/good", "test/good", "test/hole")
    names = [
        f"bagel/{kind}/{what}" for kind in kinds for what in ("rgb/000.png", "gt/000.png", "xyz/000.tiff")
    ]
    tree = tree_of(tmp_path, *names, bagel__calibration__camera_parameters_json="{}")
    assert find_layout(tree, LayoutOptions()) is mvtec
    listing = mvtec.list_samples(tree, LayoutOptions())
    assert pairs_of(listing) == {
        "bagel/test/good/rgb/000.png": None,
        "bagel/test/hole/rgb/000.png": "bagel/test/hole/gt/000.png",
        "bagel/train/good/rgb/000.png": None,
        "bagel/validation/good/rgb/000.png": None,
    }
    assert {sample.name: sample.split for sample in listing.samples} == dict.fromkeys(
        ("good-000", "hole-000", "train-good-000", "validation-good-000"), ""
    )
    assert (listing.problems, listing.category) == ((), "bagel")
    assert "not comparable" in listing.notes[0]


def test_flat_masks_beside_a_folder_of_masks_are_kept(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, BOTTLE, "test/dent/001.png ground_truth/dent/001/000.png")
    listing = mvtec.list_samples(tree, LayoutOptions())
    assert [s.name for s in listing.samples if s.mask] == [
        "broken_large-000", "contamination-000", "dent-001"
    ]  # fmt: skip
    assert set(listing.type_names.values()) == {"broken_large", "contamination", "dent"}
    assert listing.problems == ()
