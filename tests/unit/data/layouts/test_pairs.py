import re
from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import pairs_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import pairs
from tinyunet.data.layouts.base import LayoutOptions, Listing


def listed(folder: Path, *names: str, **options: str) -> Listing:
    tree = tree_of(folder, *names)
    if "images" not in options:
        assert pairs.recognise(tree)
    return pairs.list_samples(tree, LayoutOptions(**options))


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.jpg", "masks/a.png"),
        ("IMG/a.jpg", "Labels/a.png"),
        ("image/a.bmp", "label/a_label.png"),
        ("photos/a.tif", "annotations/a_mask.bmp"),
        ("img/a.webp", "gt/a-GT.png"),
        ("images/a.png", "ground_truth/a.png"),
        ("images/a.png", "GroundTruth/A.PNG"),
        ("Source_Images/a.jpg", "Ground-Truth/a.png"),
        ("part-7/images/a.jpg", "part-7/masks/a_seg.png"),
        ("a.jpg", "masks/a.png"),
        ("defect_images/a.png", "mask_images/a_mask.png"),
        ("images/line1/a.png", "masks/line1/a.png"),
        ("images/crack_seg.png", "masks/crack_seg.png"),
        ("JPEGImages/a.jpg", "PixelLabels/a.png"),
        ("images/a.jpe", "masks/a.gif"),
        ("train/a.jpg", "train_masks/a_mask.gif"),
        ("Bilder/a.jpg", "Masken/a.png"),
        ("Fotos/a.jpg", "Maske/a_Maske.png"),
        ("train/train/a.jpg", "train_masks/train_masks/a_mask.gif"),
    ],
)
def test_an_image_has_the_mask_of_its_name(tmp_path: Path, image: str, mask: str) -> None:
    listing = listed(tmp_path, image, mask)
    assert pairs_of(listing) == {image: mask}
    assert listing.problems == ()


@pytest.mark.parametrize(
    "folders",
    [
        ["images/train masks/train", "images/val masks/val", "images/test masks/test"],
        ["train/images train/masks", "valid/images valid/masks", "testing/images testing/masks"],
        ["images/Training gt/Training", "images/validation gt/validation", "images/Testing gt/Testing"],
        ["train_img train_lab", "val_img val_lab", "test_img test_lab"],
        ["images/train train/masks", "images/val val/masks", "images/test test/masks"],
    ],
)
def test_folders_say_the_split_before_or_after_images(tmp_path: Path, folders: list[str]) -> None:
    names = [f"{image}/a.jpg {mask}/a.png" for image, mask in (pair.split() for pair in folders)]
    listing = listed(tmp_path, *names)
    assert [(sample.split, sample.name) for sample in listing.samples] == [
        ("train", "a"),
        ("validation", "a"),
        ("test", "a"),
    ]
    assert all(sample.mask for sample in listing.samples)
    assert listing.problems == ()


@pytest.mark.parametrize("names", ["images/train/a.jpg masks/a.png", "images/a.jpg masks/train/a.png"])
def test_one_side_may_say_the_split_alone(tmp_path: Path, names: str) -> None:
    listing = listed(tmp_path, names, "images/b.jpg masks/b.png")
    assert [(s.split, s.name, s.mask is None) for s in listing.samples] == [
        ("train", "a", False),
        ("", "b", False),
    ]


def test_an_image_never_has_the_mask_of_another_split(tmp_path: Path) -> None:
    listing = listed(tmp_path, "images/train/a.jpg images/train/b.jpg masks/test/a.png masks/train/b.png")
    assert pairs_of(listing) == {"images/train/b.jpg": "masks/train/b.png"}
    assert [problem.file for problem in listing.problems] == ["images/train/a.jpg", "masks/test/a.png"]


def test_a_folder_that_varies_is_the_type_and_clean_images_need_no_mask(tmp_path: Path) -> None:
    listing = listed(
        tmp_path,
        "Data/Images/Scratch/1.jpg Data/Images/Normal/1.jpg Data/Images/Dent/2.jpg",
        "Data/Masks/Scratch/1.png Data/Masks/Dent/2.png",
    )
    assert [(s.name, s.defect_type, s.mask is None, s.defective) for s in listing.samples] == [
        ("Dent-2", "Dent", False, None),
        ("Normal-1", "", True, False),
        ("Scratch-1", "Scratch", False, None),
    ]
    assert listing.found == "Images/ beside Masks/: 3 images, 2 masks; types Dent, Scratch"


def test_stems_that_differ_by_case_alone_are_matched_exactly(tmp_path: Path) -> None:
    listing = listed(tmp_path, "images/a.jpg images/A.jpg masks/a.png masks/A.png")
    assert pairs_of(listing) == {"images/a.jpg": "masks/a.png", "images/A.jpg": "masks/A.png"}
    assert [sample.name for sample in listing.samples] == ["A", "a-2"]


def test_other_files_are_ignored(tmp_path: Path) -> None:
    listing = listed(tmp_path, "images/a.jpg masks/a.png overview.png images/notes.txt")
    assert listing.ignored == ("images/notes.txt", "overview.png")


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (
            "images/b.jpg",
            "images/b.jpg: is an image without a mask; expected a file such as masks/a.png with",
        ),
        ("masks/b.png", "masks/b.png: is a mask without an image"),
        ("masks/a.bmp", "masks/a.png: is a second mask of the same name beside masks/a.bmp"),
        ("labels/a.png", "masks/a.png: is a second mask of the same name beside labels/a.png"),
        ("images/a.png", "images/a.png: is a second image of the same name beside images/a.jpg"),
        ("images/A.png", "images/A.png: is an image without a mask"),
    ],
)
def test_a_file_without_its_counterpart_is_a_problem(tmp_path: Path, extra: str, expected: str) -> None:
    problems = [str(problem) for problem in listed(tmp_path, "images/a.jpg masks/a.png", extra).problems]
    assert any(problem.startswith(expected) for problem in problems)


def test_names_that_do_not_match_are_one_error_with_the_option(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "images/a.jpg masks/b_7.png")
    assert not pairs.recognise(tree)
    assert pairs.has_folders(tree)
    with pytest.raises(
        UserError, match=r"the first image is images/a.jpg, the first mask masks/b_7.png; say"
    ):
        pairs.list_samples(tree, LayoutOptions())


def test_images_that_share_a_name_and_a_mask_are_named(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "images/x/a.jpg images/y/a.jpg masks/a.png")
    with pytest.raises(
        UserError,
        match=r"such as images/x/a.jpg and images/y/a.jpg with masks/a.png; put the masks in folders",
    ):
        pairs.list_samples(tree, LayoutOptions())


def test_masks_alone_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no pictures in a folder images .* --layout pairs --images"):
        pairs.list_samples(tree_of(tmp_path, "masks/a.png"), LayoutOptions())


@pytest.mark.parametrize(
    ("images", "masks", "files"),
    [
        ("photos/*.jpg", "labels/{stem}_gt.png", "photos/a.jpg labels/a_gt.png"),
        ("*/cam?.bmp", "{folder}/{name}.mask.png", "p1/cam1.bmp p1/cam1.bmp.mask.png"),
        ("raw/**/?.png", "raw/{stem}*/mask.png", "raw/z/a.png raw/a-7/mask.png"),
        ("PHOTOS/*.JPG", "LABELS/{stem}.png", "photos/a.jpg labels/A.png"),
        ("x/*.jpg", "y/{stem}.png", "top/x/a.jpg top/y/a.png"),
        ("a\u0308/*.jpg", "u\u0308/{stem}.png", "\u00e4/a.jpg \u00fc/a.png"),
        ("x/{stem}_000?.png", "y/{stem}.png", "x/a_b_0000.png y/a_b.png"),
        ("**/images/{stem}_*.tif", "{parent}/gt/{stem}_gt1.gif", "q/images/21_training.tif q/gt/21_gt1.gif"),
    ],
)
def test_patterns_say_which_mask_an_image_has(tmp_path: Path, images: str, masks: str, files: str) -> None:
    image, mask = files.split()
    listing = listed(tmp_path, files, images=images, masks=masks)
    assert pairs_of(listing) == {image: mask}
    assert listing.problems == ()


def test_images_without_a_mask_are_clean_if_this_is_said(tmp_path: Path) -> None:
    listing = listed(tmp_path, "images/dent/a.jpg masks/dent/a.png images/dent/b.jpg", unmasked="clean")
    samples = {one.image.name: (one.mask is None, one.defective) for one in listing.samples}
    assert samples == {"images/dent/a.jpg": (False, None), "images/dent/b.jpg": (True, False)}
    assert listing.problems == ()
    assert "2 images, 1 mask" in listing.found


def test_patterns_keep_the_split_of_a_folder_and_name_what_is_left_over(tmp_path: Path) -> None:
    files = "train/p/a.jpg train/p/b.jpg train/m/a_gt.png test/p/a.jpg test/m/a_gt.png test/m/c_gt.png"
    listing = listed(tmp_path, files, images="*/p/*.jpg", masks="{parent}/m/{stem}_gt.png")
    assert [(sample.split, sample.name) for sample in listing.samples] == [("train", "a"), ("test", "a")]
    assert [str(problem) for problem in listing.problems] == [
        "train/p/b.jpg: is an image without a mask; expected a file such as test/m/a_gt.png with the name of "
        "the image; if it has no defect, move it to a folder named good, or say --unmasked clean",
        "test/m/c_gt.png: is a mask without an image",
    ]


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ("photos/*.jpg", "", "--masks is missing; expected both patterns, such as --images"),
        ("", "m/{stem}.png", "--images is missing; expected both patterns"),
        ("photos/*.jpg", "m/{stem", "--masks is 'm/{stem' without {stem}; expected the mask of each image"),
        ("photos/*.jpg", "m/{id}.png", "--masks is 'm/{id}.png' with {id}; expected only {stem}, {name},"),
        ("photos/*.jpg", "m/a.png", "--masks is 'm/a.png' without {stem}; expected the mask of each image"),
        ("photos/*.jpg", "{folder}/../m/{stem}.png", "; expected a path inside the source, such as --images"),
        (
            "{folder}/*.jpg",
            "m/{stem}.png",
            "--images is '{folder}/*.jpg'; expected only {stem}, and once, as",
        ),
        (
            "{stem}/{stem}.jpg",
            "m/{stem}.png",
            "--images is '{stem}/{stem}.jpg'; expected only {stem}, and once",
        ),
        ("/data/*.jpg", "m/{stem}.png", "--images is '/data/*.jpg'; expected a path inside the source"),
        ("foto/*.jpg", "m/{stem}.png", "--images is 'foto/*.jpg', but no picture of parts has this path; it"),
        (
            "photos/*.jpg",
            "x/{stem}.png",
            "--masks is 'x/{stem}.png', but photos/a.jpg and all others have no such",
        ),
    ],
)
def test_a_wrong_pattern_is_one_line(tmp_path: Path, images: str, masks: str, message: str) -> None:
    tree = tree_of(tmp_path, "photos/a.jpg m/a.png")
    with pytest.raises(UserError, match=re.escape(message)) as raised:
        pairs.list_samples(tree, LayoutOptions(images=images, masks=masks))
    assert "\n" not in str(raised.value)


def test_names_that_begin_with_their_role_belong_together(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "images/img_001.jpg images/img_002.jpg masks/mask_001.png masks/mask_002.png")
    assert pairs.recognise(tree)
    listing = pairs.list_samples(tree, LayoutOptions())
    assert pairs_of(listing) == {f"images/img_00{n}.jpg": f"masks/mask_00{n}.png" for n in (1, 2)}
    assert listing.problems == ()


def test_accents_in_two_forms_of_unicode_belong_together(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "images/fu\u0308r.jpg masks/f\u00fcr.png images/b.jpg masks/b.png")
    listing = pairs.list_samples(tree, LayoutOptions())
    assert len(listing.samples) == 2
    assert listing.problems == ()


def test_a_folder_of_clean_images_beside_the_images_is_read(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "bad/images/a.jpg bad/masks/a.png good/c.jpg good/d.jpg other/x.jpg")
    listing = pairs.list_samples(tree, LayoutOptions())
    assert pairs_of(listing) == {
        "bad/images/a.jpg": "bad/masks/a.png",
        "good/c.jpg": None,
        "good/d.jpg": None,
    }
    assert listing.ignored == ("other/x.jpg",)


def test_patterns_find_an_image_and_its_mask_in_a_folder_of_their_own(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "a/image.png a/mask.png b/image.png b/mask.png")
    options = LayoutOptions(images="*/image.png", masks="{folder}/mask.png")
    listing = pairs.list_samples(tree, options)
    assert pairs_of(listing) == {"a/image.png": "a/mask.png", "b/image.png": "b/mask.png"}


def test_a_pattern_with_wildcards_finds_the_mask_of_an_image_at_the_root(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "a.jpg a_1.png b.jpg b_2.png")
    listing = pairs.list_samples(tree, LayoutOptions(images="*.jpg", masks="{folder}/{stem}_*.png"))
    assert pairs_of(listing) == {"a.jpg": "a_1.png", "b.jpg": "b_2.png"}


def test_a_pattern_that_gives_two_images_one_mask_is_refused(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "p/a/0.png p/b/0.png m/0.png")
    options = LayoutOptions(images="p/**/*.png", masks="m/{stem}.png")
    with pytest.raises(UserError, match=r"m/0\.png is the mask of p/b/0\.png and of another image"):
        pairs.list_samples(tree, options)


def test_other_words_of_the_folder_of_images_do_not_hide_its_place(tmp_path: Path) -> None:
    kinds = ("Type-I", "Type-II")
    names = [f"{kind}/Rail_surface_images/r1.jpg {kind}/GroundTruth/r1.jpg" for kind in kinds]
    assert pairs_of(listed(tmp_path, *names)) == {
        f"{kind}/Rail_surface_images/r1.jpg": f"{kind}/GroundTruth/r1.jpg" for kind in kinds
    }


def test_the_images_of_a_split_without_any_mask_are_ignored_and_said(tmp_path: Path) -> None:
    listing = listed(tmp_path, "train/images/a.png train/masks/a.png test/images/b.png")
    assert [sample.name for sample in listing.samples] == ["a"]
    assert listing.problems == ()
    assert listing.notes == ("images of a split without any mask are ignored: 1, such as test/images/b.png",)


def test_clean_images_of_a_split_without_masks_are_used(tmp_path: Path) -> None:
    listing = listed(tmp_path, "train/images/a.png train/masks/a.png test/images/good/b.png")
    assert [sample.name for sample in listing.samples] == ["a", "good-b"]


def test_pascal_voc_is_another_layout(tmp_path: Path) -> None:
    assert not pairs.recognise(tree_of(tmp_path, "JPEGImages/a.jpg SegmentationClass/a.png"))


def test_a_mask_that_could_be_that_of_a_clean_image_is_that_of_the_other_one(tmp_path: Path) -> None:
    listing = listed(tmp_path, "images/good/0.png images/bad/0.png images/good/1.png masks/0.png")
    assert pairs_of(listing) == {
        "images/good/0.png": None,
        "images/good/1.png": None,
        "images/bad/0.png": "masks/0.png",
    }
    assert listing.problems == ()


def test_clean_images_beside_a_folder_and_that_of_its_masks_are_read(tmp_path: Path) -> None:
    listing = listed(tmp_path, "NG/0.png NG_mask/0.png OK/0.png")
    assert pairs_of(listing) == {"NG/0.png": "NG_mask/0.png", "OK/0.png": None}
    assert listing.ignored == ()


def test_ten_folders_of_one_image_each_are_no_types(tmp_path: Path) -> None:
    names = [f"{letter}/images/{letter}.png {letter}/masks/{letter}.png" for letter in "abcdefghij"]
    assert {sample.defect_type for sample in listed(tmp_path, *names).samples} == {""}
