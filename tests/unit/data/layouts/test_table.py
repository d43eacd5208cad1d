import json
from pathlib import Path

import pytest

from tests.unit.data.layouts.trees import pairs_of, tree_of
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import pairs, table
from tinyunet.data.layouts.base import LayoutOptions
from tinyunet.data.layouts.find import find_layout

PICTURES = "p/a.jpg p/b.jpg m/a.png"
ROWS = [
    {"image": "p/a.jpg", "mask": "m/a.png", "split": "Training", "type": "dent", "group": "7"},
    {"image": "p/b.jpg", "mask": "", "split": "val", "type": "", "group": ""},
]


def csv_text(rows: list[dict[str, str]], separator: str = ",") -> str:
    return "\r\n".join([separator.join(rows[0]), *(separator.join(row.values()) for row in rows), ""])


def jsonl_text(rows: list[dict[str, str]]) -> str:
    return "\n".join(json.dumps(row) for row in rows) + "\n\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels_csv", csv_text(ROWS)),
        ("labels_csv", "\ufeff" + csv_text(ROWS, ";")),
        ("labels_tsv", csv_text(ROWS, "\t")),
        ("labels_csv", csv_text(ROWS, "|")),
        ("labels_csv", csv_text([row | {"a|b|c|d|e|f|g|h": "x"} for row in ROWS])),
        ("labels_csv", csv_text(ROWS).encode("utf-16")),
        ("labels_csv", ("sep=\t\r\n" + csv_text(ROWS, "\t")).encode("utf-16")),
        ("labels_csv", "sep=,\r\n" + csv_text(ROWS)),
        ("labels_csv", '\ufeff"sep=;"\r\n' + csv_text(ROWS, ";")),
        ("labels_csv", "\r\n \r\n" + csv_text(ROWS)),
        ("labels_csv", csv_text(ROWS).replace("image", "Image Path").replace("mask,", "MASK,")),
        ("labels_csv", csv_text(ROWS).replace("p/a.jpg", ".\\P\\A.JPG")),
        ("labels_jsonl", jsonl_text(ROWS)),
        ("labels_jsonl", jsonl_text(ROWS).replace(', "mask": ""', ', "mask": null')),
    ],
    ids=[
        *("commas", "semicolons", "tabs", "bars", "bars in a header", "utf-16", "Excel Unicode", "Excel"),
        *("Excel semicolons", "empty lines", "headers", "backslashes", "lines", "null"),
    ],
)
def test_each_row_is_a_sample(tmp_path: Path, name: str, text: str | bytes) -> None:
    tree = tree_of(tmp_path, PICTURES, **{name: text})
    assert table.recognise(tree)
    assert table.categories(tree) == ()
    listing = table.list_samples(tree, LayoutOptions())
    assert [(s.name, s.split, s.defect_type, s.group, s.defective) for s in listing.samples] == [
        ("a", "train", "dent", "7", None),
        ("b", "validation", "", "", False),
    ]
    assert pairs_of(listing) == {"p/a.jpg": "m/a.png", "p/b.jpg": None}
    assert (listing.problems, listing.ignored) == ((), ())


def test_a_problem_names_the_line_of_the_file_also_below_a_separator(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, PICTURES, t_csv="sep=;\nBild;Maske\np/a.jpg;m/a.png\np/c.jpg;\n")
    assert [problem.file for problem in table.list_samples(tree, LayoutOptions()).problems] == [
        "t.csv: line 4"
    ]


@pytest.mark.parametrize("kind", ["", "-", "nan", "iO", "gut", "kein Fehler", "keine"])
def test_a_clean_image_may_have_a_word_for_no_defect_as_its_type(tmp_path: Path, kind: str) -> None:
    text = f"image,mask,Fehlerart\np/a.jpg,m/a.png,Riss\np/b.jpg,,{kind}\n"
    listing = table.list_samples(tree_of(tmp_path, PICTURES, t_csv=text), LayoutOptions())
    assert [sample.defect_type for sample in listing.samples] == ["Riss", ""]
    assert listing.problems == ()


def test_paths_can_be_relative_to_a_table_in_the_only_folder(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, "set/p/a.jpg set/m/a.png", set__t_csv="image,mask\np/a.jpg,set/m/a.png\n")
    assert pairs_of(table.list_samples(tree, LayoutOptions())) == {"set/p/a.jpg": "set/m/a.png"}


def test_tables_named_after_splits_are_read_together(tmp_path: Path) -> None:
    files = {"train_csv": "image,mask\np/a.jpg,m/a.png\n", "test_csv": "image,mask\np/b.jpg,\n"}
    listing = table.list_samples(tree_of(tmp_path, PICTURES, **files), LayoutOptions())
    assert [(sample.split, sample.name) for sample in listing.samples] == [("train", "a"), ("test", "b")]


def test_a_table_in_a_folder_names_files_beside_it(tmp_path: Path) -> None:
    files = {"train__metadata_csv": "file_name,mask\na.jpg,m/a.png\n"}
    files |= {"test__metadata_csv": "file_name,mask\nb.jpg,nan\n"}
    listing = table.list_samples(
        tree_of(tmp_path, "train/a.jpg train/m/a.png test/b.jpg", **files), LayoutOptions()
    )
    assert [(sample.split, sample.name) for sample in listing.samples] == [("train", "a"), ("test", "b")]
    assert pairs_of(listing) == {"train/a.jpg": "train/m/a.png", "test/b.jpg": None}


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "None", "null", " "])
def test_a_cell_without_a_value_is_no_mask(tmp_path: Path, empty: str) -> None:
    tree = tree_of(tmp_path, PICTURES, t_csv=f"image,mask\np/a.jpg,m/a.png\np/b.jpg,{empty}\n")
    assert pairs_of(table.list_samples(tree, LayoutOptions())) == {"p/a.jpg": "m/a.png", "p/b.jpg": None}


def test_a_file_name_alone_is_found_in_any_folder(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, PICTURES, t_csv="image,mask\na.jpg,a.png\nb.jpg,\n")
    assert pairs_of(table.list_samples(tree, LayoutOptions())) == {"p/a.jpg": "m/a.png", "p/b.jpg": None}


@pytest.mark.parametrize("start", ["/srv/x/parts", "C:\\\\data"])
def test_absolute_paths_of_another_machine_are_found_by_their_last_folders(
    tmp_path: Path, start: str
) -> None:
    tree = tree_of(
        tmp_path, PICTURES, t_csv=f"image,mask\n{start}/p/a.jpg,{start}/m/a.png\n{start}/p/c.jpg,\n"
    )
    listing = table.list_samples(tree, LayoutOptions())
    assert pairs_of(listing) == {"p/a.jpg": "m/a.png"}
    assert [problem.file for problem in listing.problems] == ["t.csv: line 3"]


@pytest.mark.parametrize("image", ["1.jpg", "p/1.jpg", "m/1.jpg 1.jpg"])
def test_the_file_name_of_an_absolute_path_is_enough(tmp_path: Path, image: str) -> None:
    tree = tree_of(tmp_path, image, t_csv="image,mask\n/data/parts/1.jpg,\n")
    assert [*pairs_of(table.list_samples(tree, LayoutOptions()))] == [image.split()[-1]]


@pytest.mark.parametrize("path", ["/d/test/images/a.jpg", "/d/images/masks/a.jpg", "/d/test/a.jpg"])
def test_an_absolute_path_of_another_split_or_folder_is_not_found(tmp_path: Path, path: str) -> None:
    tree = tree_of(
        tmp_path,
        "train/images/a.jpg train/images/b.jpg train/masks/b.jpg",
        train__t_csv=f"image,mask\n/d/train/images/b.jpg,/d/train/masks/b.jpg\n{path},\n",
    )
    listing = table.list_samples(tree, LayoutOptions())
    assert pairs_of(listing) == {"train/images/b.jpg": "train/masks/b.jpg"}
    assert [problem.file for problem in listing.problems] == ["train/t.csv: line 3"]


def test_images_whose_training_split_is_clean_are_split_again(tmp_path: Path) -> None:
    """Three tables of the same images, as VisA has them: the one for a single class is read."""
    text = "object,split,image,mask\nnut,train,p/b.jpg,\nnut,test,p/a.jpg,m/a.png\n"
    files = {f"split_csv__{name}_csv": text for name in ("1cls", "2cls_fewshot", "2cls_highshot")}
    listing = table.list_samples(tree_of(tmp_path, PICTURES, **files), LayoutOptions())
    assert {sample.split for sample in listing.samples} == {""}
    assert "not comparable with published" in listing.notes[0]
    assert listing.found.startswith("table split_csv/1cls.csv")


def test_a_column_can_say_the_category(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, PICTURES, t_csv="object,image,mask\nnut,p/a.jpg,m/a.png\nbolt,p/b.jpg,\n")
    assert table.categories(tree) == ("bolt", "nut")
    assert pairs_of(table.list_samples(tree, LayoutOptions(category="bolt"))) == {"p/b.jpg": None}
    with pytest.raises(UserError, match="categories bolt, nut; choose one"):
        table.list_samples(tree, LayoutOptions())


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("p/c.jpg,,,", "t.csv: line 3: the image 'p/c.jpg' does not exist"),
        ("q/b.jpg,,,", "t.csv: line 3: the image 'q/b.jpg' does not exist"),
        (",m/a.png,,", "t.csv: line 3: the column image is empty"),
        ("p/a.jpg,,,", "t.csv: line 3: the image p/a.jpg is listed a second time"),
        ("p/b.jpg,m/b.png,,", "t.csv: line 3: the mask 'm/b.png' does not exist"),
        ("p/b.jpg,,later,", "t.csv: line 3: the split is 'later'; expected train, validation or test"),
        (
            "p/b.jpg,,,dent",
            "t.csv: line 3: the type is 'dent', but the mask is empty; a clean image has no type",
        ),
    ],
)
def test_a_wrong_row_is_a_problem_with_its_line(tmp_path: Path, row: str, expected: str) -> None:
    tree = tree_of(tmp_path, PICTURES, t_csv=f"image,mask,split,type\np/a.jpg,m/a.png,train,dent\n{row}\n")
    listing = table.list_samples(tree, LayoutOptions())
    assert [str(problem) for problem in listing.problems] == [expected]
    assert len(listing.samples) == 1


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"t_csv": "image,label\np/a.jpg,1\n"},
            r"images \(t.csv has no column mask, but image, label\); expected",
        ),
        ({"t_csv": "image,mask\nq/c.jpg,\n"}, r"\(t.csv names the image 'q/c.jpg', which does not exist\)"),
        ({"t_csv": "image,mask\n"}, r"\(t.csv has no rows\)"),
        ({"t_csv": "sep=\r\nimage,mask\r\n"}, r"\(t.csv has no column image and no column mask, but sep=\)"),
        ({"t_csv": 'image,mask\n"' + "p/a.jpg,\n" * 999}, r"names the image 'p/a.jpg,.{1,300}…', which does"),
        ({"t_jsonl": '{"image": "p/a.jpg", "mask": ""\n'}, r"\(t.jsonl: line 1 is not JSON; expected"),
        ({"t_jsonl": '["p/a.jpg"]\n'}, r"\(t.jsonl: line 1 is not a JSON object; expected"),
        ({"t_csv": "image,mask\n".encode("utf-16-le")}, r"\(t.csv has characters of the value 0; save it as"),
        ({"t_csv": "image,mask\np/ä.jpg,\n".encode("latin-1")}, r"\(t.csv is not text in UTF-8 or UTF-16"),
        (
            {"a_csv": "image,mask\np/a.jpg,\n", "b_csv": "image,mask\np/a.jpg,\n"},
            "has the tables a.csv, b.csv; keep one of them, name them train, validation and test, or read",
        ),
    ],
)
def test_other_tables_are_an_error(tmp_path: Path, files: dict[str, str | bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        table.list_samples(tree_of(tmp_path, PICTURES, **files), LayoutOptions())


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    text = "".join(f'{{"image": "p/a.jpg", "mask": "{n}"}}\n' for n in range(30)) + "end\n"
    with pytest.raises(UserError, match=r"t.jsonl: line 31 is not JSON; expected one object in each line"):
        table.list_samples(tree_of(tmp_path, PICTURES, t_jsonl=text), LayoutOptions())


def test_a_name_with_accents_in_two_parts_is_that_of_the_file(tmp_path: Path) -> None:
    rows = [{"image": "p/u\u0308.jpg", "mask": "m/u\u0308.png"}]
    tree = tree_of(tmp_path, "p/\u00fc.jpg m/\u00fc.png", labels_csv=csv_text(rows))
    assert pairs_of(table.list_samples(tree, LayoutOptions())) == {"p/\u00fc.jpg": "m/\u00fc.png"}


def test_a_list_of_images_without_masks_does_not_hide_the_masks_beside_it(tmp_path: Path) -> None:
    rows = [{"Bild": f"images/{name}.png", "Maske": "", "Notiz": "x"} for name in ("a", "b")]
    pictures = "images/a.png images/b.png masks/a.png masks/b.png"
    tree = tree_of(tmp_path, pictures, notes_csv=csv_text(rows))
    assert find_layout(tree, LayoutOptions()) is pairs
    assert table.refusals(tree) == {"notes.csv": "notes.csv names no mask"}
