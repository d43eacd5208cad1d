"""The layout of DAGM2007: which class is read, and from which folder."""

import re
import shutil
from pathlib import Path

import pytest

from tests.unit.data.conftest import copy_class
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import dagm
from tinyunet.data.layouts.base import LayoutOptions, Listing
from tinyunet.data.layouts.dagm_split import SPLITS
from tinyunet.data.sources.source import open_source
from tinyunet.data.sources.trees import FolderTree


def _list(root: Path, category: str = "") -> Listing:
    return dagm.list_samples(FolderTree(root), LayoutOptions(category=category))


def test_the_official_counts_add_up_to_the_published_totals() -> None:
    totals = {
        split: tuple(sum(dagm.OFFICIAL_COUNTS[c][split][i] for c in dagm.CLASSES) for i in (0, 1))
        for split in SPLITS
    }
    assert totals == {"train": (8050, 1046), "test": (8050, 1054)}
    for class_id in range(1, 7):
        assert sum(dagm.OFFICIAL_COUNTS[class_id][split][1] for split in SPLITS) == 150


def test_a_class_is_listed_in_order_with_train_first(class1: Path) -> None:
    listing = _list(class1)
    samples = listing.samples
    assert (listing.layout, listing.category, listing.problems, listing.notes) == ("dagm", "class1", (), ())
    assert listing.found == "DAGM2007, class1 in the source itself: 24 images in Train, 16 images in Test"
    assert [s.split for s in samples] == ["train"] * 24 + ["test"] * 16
    assert [s.name for s in samples] == [f"{n:04d}" for n in [*range(17, 41), *range(1, 17)]]
    assert all(s.defective == (s.mask is not None) for s in samples)
    assert samples[0].image.read() == (class1 / "Train" / "0017.PNG").read_bytes()


@pytest.mark.parametrize(
    "place", ["Class1", "class1", "CLASS01", "Class1_def", "Upload/Class1", "dagm/DAGM2007/Class1/Class1"]
)
def test_a_class_is_found_under_the_names_that_copies_have(class1: Path, tmp_path: Path, place: str) -> None:
    copy_class(class1, tmp_path / "root" / place)
    (tmp_path / "root" / place / "train_list.csv").touch()
    (tmp_path / "root" / "readme.txt").touch()
    tree = FolderTree(tmp_path / "root")
    assert dagm.recognise(tree)
    assert dagm.categories(tree) == ("class1",)
    listing = _list(tmp_path / "root")
    assert [s.name for s in listing.samples] == [s.name for s in _list(class1).samples]
    assert listing.samples[0].image.name == f"{place}/Train/0017.PNG"
    assert listing.ignored == (f"{place}/train_list.csv",)
    assert listing.notes == ()


@pytest.mark.parametrize("category", ["", "1", "class1", "Class1"])
def test_class_1_is_read_unless_another_is_chosen(class1: Path, tmp_path: Path, category: str) -> None:
    for name in ("Class10", "Class2", "class1"):
        copy_class(class1, tmp_path / name)
    assert dagm.categories(FolderTree(tmp_path)) == ("class1", "class2", "class10")
    listing = _list(tmp_path, category)
    assert listing.category == "class1"
    assert {s.image.name.split("/")[0] for s in listing.samples} == {"class1"}
    note = f"{tmp_path} also holds class2, class10; choose with --category (make run: CATEGORY=…)"
    assert listing.notes == (() if category else (note,))
    assert {s.image.name.split("/")[0] for s in _list(tmp_path, "10").samples} == {"Class10"}


def test_one_of_several_classes_without_class_1_has_to_be_chosen(class1: Path, tmp_path: Path) -> None:
    for name in ("Class2", "Class3"):
        copy_class(class1, tmp_path / name)
    with pytest.raises(UserError, match="has the categories class2, class3; choose one with --category"):
        _list(tmp_path)
    shutil.rmtree(tmp_path / "Class2")
    assert _list(tmp_path).category == "class3"


def test_a_folder_without_the_name_of_a_class_is_any_class(class1: Path, tmp_path: Path) -> None:
    root = copy_class(class1, tmp_path / "mine")
    assert dagm.categories(FolderTree(root)) == ()
    assert _list(root, "5").category == "class5"
    listing = _list(root)
    assert listing.category == "class1"
    assert listing.notes == (f"{root} does not say which class it is; it is read as class1",)


@pytest.mark.parametrize(
    "location",
    [
        "data/Class3",
        "Class3",
        "Class3.zip",
        "CLASS3.tar.gz",
        "https://h/Class3.zip/content",
        "s3://b/class3/",
    ],
)
def test_a_location_is_the_class_that_it_is_named_after(class1: Path, location: str) -> None:
    tree = FolderTree(class1, location)
    assert dagm.list_samples(tree, LayoutOptions()).category == "class3"
    assert dagm.categories(tree) == ("class3",)
    with pytest.raises(UserError) as caught:
        dagm.list_samples(tree, LayoutOptions(category="class4"))
    assert (
        str(caught.value)
        == f"{location} is Class3, but the category is class4; give class3 or another source"
    )


@pytest.mark.parametrize(
    "location", ["data", "Class3/mine", "MyClass3.zip", "Class3.zip!mine.zip", "data/CLASS2007", "Class11"]
)
def test_a_location_with_any_other_name_is_no_class(class1: Path, location: str) -> None:
    assert dagm.list_samples(FolderTree(class1, location), LayoutOptions(category="4")).category == "class4"


def test_a_class_in_two_folders_is_an_error(class1: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        copy_class(class1, tmp_path / name / "Class1")
    with pytest.raises(UserError, match="holds Class1 in a and in b; give one of these folders"):
        _list(tmp_path)
    copy_class(class1, tmp_path / "Class1")
    assert _list(tmp_path).samples[0].image.name.startswith("Class1/")
    copy_class(class1, tmp_path / "class1")
    with pytest.raises(UserError, match="holds Class1/ and class1/; keep one of them"):
        _list(tmp_path)


@pytest.mark.parametrize(
    ("category", "message"),
    [
        ("3", "holds neither Class3, Class3.zip nor Train and Test with Label/Labels.txt"),
        ("class3", "in upper or lower case; it holds class1; expected DAGM2007"),
        ("class11", "category is 'class11'; expected class1 to class10, or 1 to 10, for DAGM2007"),
        ("bottle", "category is 'bottle'; expected class1 to class10"),
    ],
)
def test_a_category_that_is_not_there_is_an_error(
    class1: Path, tmp_path: Path, category: str, message: str
) -> None:
    copy_class(class1, tmp_path / "Class1")
    with pytest.raises(UserError, match=re.escape(message)):
        _list(tmp_path, category)


def test_archives_of_another_kind_are_named_and_a_damaged_zip_tells_why(tmp_path: Path) -> None:
    (tmp_path / "in" / "up").mkdir(parents=True)
    (tmp_path / "in" / "up" / "Class1.7z").touch()
    with pytest.raises(UserError, match=r"expected DAGM2007; up/Class1\.7z is a 7z archive: unpack it"):
        _list(tmp_path / "in")
    (tmp_path / "in" / "Class1.zip").write_bytes(b"x")
    with open_source(str(tmp_path / "in"), tmp_path / "scratch") as tree:
        assert dagm.recognise(tree)
        with pytest.raises(UserError, match=r"in/Class1\.zip is not a valid \.zip \(.*\); download it again"):
            dagm.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize(
    "names",
    [
        ("train/a.png", "test/a.png"),
        ("images/train/a.png", "masks/train/a.png"),
        ("bottle/train/good/0.png", "bottle/ground_truth/x/0.png"),
        ("class1/train/images/a.png", "class1/train/masks/a.png"),
        ("Class1/1.png", "Class1_def/1.png", "Class1_def/labels.txt"),
    ],
)
def test_other_layouts_are_not_recognised(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert not dagm.recognise(FolderTree(tmp_path))


@pytest.mark.parametrize(
    ("name", "text"), [("manifest.json", '{"class_id": 3}'), ("dataset.json", '{"category": "class3"}')]
)
def test_a_folder_without_the_name_of_a_class_is_the_class_that_its_manifest_names(
    class1: Path, tmp_path: Path, name: str, text: str
) -> None:
    copy_class(class1, tmp_path / "upload")
    (tmp_path / "upload" / name).write_text(text)
    assert dagm.categories(FolderTree(tmp_path / "upload")) == ("class3",)
    assert _list(tmp_path / "upload").category == "class3"
    with pytest.raises(UserError, match=r"holds neither Class1, .*; it holds class3; expected DAGM2007"):
        _list(tmp_path / "upload", "1")


@pytest.mark.parametrize("text", ["no JSON", "[1]", "{}", '{"class_id": 77}'])
def test_a_manifest_of_another_program_names_no_class(class1: Path, tmp_path: Path, text: str) -> None:
    copy_class(class1, tmp_path / "upload")
    (tmp_path / "upload" / "manifest.json").write_text(text)
    assert _list(tmp_path / "upload", "2").category == "class2"
