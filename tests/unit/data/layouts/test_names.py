import pytest

from tinyunet.data.layouts import names


@pytest.mark.parametrize(
    "folder",
    [
        "good",
        "OK",
        "MT_Free",
        "normal",
        "defect-free",
        "DefectFree",
        "no_defect",
        "NODefect",
        "01_good",
        "Negative",
    ],
)
def test_folders_named_after_clean_images_are_clean(folder: str) -> None:
    assert names.is_clean(folder)


@pytest.mark.parametrize(
    "folder",
    [
        "crack",
        "MT_Blowhole",
        "not ok",
        "not_good",
        "broken",
        "defect",
        "free_form",
        "",
        "goods",
        "nok",
        "false_negatives",
    ],
)
def test_other_folders_are_not_clean(folder: str) -> None:
    assert not names.is_clean(folder)


@pytest.mark.parametrize(
    "folder",
    [
        *("Gut", "Gutteile", "iO", "i.O.", "i. O.", "IO", "Teile_iO", "Seite_A_iO"),
        *("ohne_Fehler", "OhneFehler", "ohnefehler", "kein Fehler", "keine", "fehlerfrei", "N_good"),
    ],
)
def test_german_folders_of_clean_images(folder: str) -> None:
    assert names.is_clean(folder)


@pytest.mark.parametrize(
    "folder",
    [
        *("niO", "n.i.O.", "n. i. O.", "NIO", "nicht_io", "NOK", "n.OK", "Fehler", "schlecht", "audio"),
        *("Bohne_Fehler", "Drohne_Fehler", "Techno_Fehler"),
    ],
)
def test_german_folders_of_defects(folder: str) -> None:
    assert not names.is_clean(folder)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("x_mask", "x"),
        ("x_GT", "x"),
        ("Part0_label", "Part0"),
        ("a b-seg", "a b"),
        ("x.labels", "x"),
        ("x_ground_truth", "x"),
        ("x_mask1", "x"),
        ("x_Maske", "x"),
        ("x_gt_02", "x"),
        ("x_1", ""),
        ("mask", ""),
        ("xmask", ""),
        ("_mask", ""),
    ],
)
def test_the_end_of_the_name_of_a_mask_is_removed(stem: str, expected: str) -> None:
    assert names.mask_stem(stem) == expected


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("JPEGImages", ("jpeg", "images")),
        ("groundTruth", ("ground", "truth")),
        ("Ground-Truth", ("ground", "truth")),
        ("MT_Free", ("mt", "free")),
        ("GTMasks", ("gt", "masks")),
    ],
)
def test_words_begin_at_capitals_and_after_abbreviations(folder: str, words: tuple[str, ...]) -> None:
    assert names.words_of(folder) == words


def test_splits_have_three_names() -> None:
    given = ["Train", "training", "trainval", "val", "VALID", "Validation", "test", "testing", "trial"]
    expected = ["train", "train", "train", "validation", "validation", "validation", "test", "test", ""]
    assert [names.split_of(name) for name in given] == expected


def test_the_common_folder_is_that_of_all_files() -> None:
    assert names.common_folder(["a/b/x.png", "a/b/c/y.png"]) == "a/b/"
    assert names.common_folder(["a/x.png", "y.png"]) == ""
    assert names.common_folder([]) == ""


def test_names_of_samples_have_only_safe_characters() -> None:
    assert names.sample_name(["Größe 1", "Teil (2)"]) == "Groe-1-Teil-2"
    assert names.sample_name(["..", "螺丝"]) == "image"


def test_equal_names_get_numbers_also_where_only_their_case_differs() -> None:
    unique = names.UniqueNames()
    given = [("train", "a"), ("train", "A"), ("train", "a"), ("train", "a-2"), ("test", "a")]
    assert [unique.add(*name) for name in given] == ["a", "A-2", "a-3", "a-2-2", "a"]


def test_folders_that_differ_by_a_number_are_numbers() -> None:
    assert names.are_numbers(["kos01", "kos02"])
    assert not names.are_numbers(["kos01", "kos01"])
    assert not names.are_numbers(["scratch", "dent"])
    assert not names.are_numbers(["a1", "b1"])
