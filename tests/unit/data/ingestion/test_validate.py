"""Validation of a class. In `raw`, the images of Train are 0017 to 0040, those of Test 0001 to 0016."""

import functools
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.data.conftest import copy_class, report_of
from tinyunet.core.documents.raw import SplitCounts
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest
from tinyunet.data.pictures.pixels import read_grey


@dataclass(frozen=True)
class Dataset:
    """A copy of a class that a test changes, and the names of some of its images.

    Attributes:
        folder: The class folder.
        defective: A defective image of Train.
        second: Another defective image of Train.
        clean: A defect-free image of Train.
        test: A defect-free image of Test.
    """

    folder: Path
    defective: str
    second: str
    clean: str
    test: str

    def image(self, name: str) -> Path:
        return self.folder / "Train" / f"{name}.PNG"

    def mask(self, name: str) -> Path:
        return self.folder / "Train" / "Label" / f"{name}_label.PNG"

    def edit_labels(self, change: Callable[[str], str]) -> None:
        path = self.folder / "Train" / "Label" / "Labels.txt"
        path.write_bytes(change(path.read_bytes().decode()).encode())


@pytest.fixture
def dataset(class1: Path, tmp_path: Path) -> Dataset:
    folder = copy_class(class1, tmp_path / "source")
    defective, clean = (_names(class1, "Train", defective=flag) for flag in (True, False))
    return Dataset(folder, *defective[:2], clean[0], _names(class1, "Test", defective=False)[0])


def _names(folder: Path, split: str, *, defective: bool) -> list[str]:
    masks = {path.name[:4] for path in (folder / split / "Label").glob("*_label.PNG")}
    return sorted(p.stem for p in (folder / split).glob("*.PNG") if (p.stem in masks) == defective)


def _file(array: np.ndarray, mode: str | None = None, kind: str = "PNG") -> bytes:
    file, picture = io.BytesIO(), Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, format=kind)
    return file.getvalue()


def _grey(size: int = 64, value: int = 7) -> np.ndarray:
    return np.full((size, size), value, np.uint8)


def _huge_file() -> bytes:
    data = _file(_grey(4))
    return data[:16] + (100_000).to_bytes(4, "big") * 2 + data[24:]


# Case: the file that is replaced, its new bytes (None: the file is deleted), and the message.
FILES: dict[str, tuple[str, bytes | None, str]] = {
    "missing mask": ("mask", None, "is missing, but listed in line"),
    "missing image": ("clean", None, "is missing, but listed in line"),
    "mask of a clean image": ("clean mask", _file(_grey()), "is the mask of an image listed as defect-free"),
    "image without row": ("unlisted image", _file(_grey()), "has no row in Labels.txt"),
    "mask without row": ("unlisted mask", _file(_grey()), "has no row in Labels.txt"),
    "other size": ("clean", _file(_grey(32)), "is 32×32, but most images are 64×64"),
    "16-bit": ("clean", _file(np.full((64, 64), 300, np.uint16)), "is 16-bit grey, expected 8-bit grey"),
    "rgb": ("clean", _file(np.zeros((64, 64, 3), np.uint8)), "is 8-bit RGB, expected 8-bit grey"),
    "palette": ("clean", _file(_grey(), "P"), "is 8-bit palette, expected 8-bit grey"),
    "1-bit mask": ("mask", _file(_grey(value=255), "1"), "is 1-bit grey, expected 8-bit grey"),
    "empty file": ("clean", b"", "is empty, expected a PNG"),
    "jpeg": ("clean", _file(_grey(), kind="JPEG"), "is not a PNG but JPEG"),
    "too many pixels": ("clean", _huge_file(), "has 100000×100000 pixels, expected at most 8192×8192"),
    "mask with 128": ("mask", _file(_grey(value=255) - 127 * np.eye(64, dtype="u1")), "holds the value 128"),
    "mask of another size": ("mask", _file(_grey(32, 255)), "is 32×32, but its image is 64×64"),
    "empty mask": ("mask", _file(_grey(value=0)), "is all 0, but its image is listed as defective"),
}  # fmt: skip


def _replace_file(dataset: Dataset, case: str) -> str:
    key, data, message = FILES[case]
    path = {
        "clean": dataset.image(dataset.clean),
        "mask": dataset.mask(dataset.defective),
        "clean mask": dataset.mask(dataset.clean),
        "unlisted image": dataset.image("9999"),
        "unlisted mask": dataset.mask("9999"),
    }[key]
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    return f"{path.relative_to(dataset.folder)}: {message}"


def _truncated(dataset: Dataset) -> str:
    path = dataset.image(dataset.clean)
    path.write_bytes(path.read_bytes()[:900])
    return f"Train/{dataset.clean}.PNG: is truncated or damaged"


def _damaged_byte(dataset: Dataset) -> str:
    path = dataset.image(dataset.clean)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    return f"Train/{dataset.clean}.PNG: is truncated or damaged"


def _duplicate_across(dataset: Dataset) -> str:
    shutil.copy(dataset.image(dataset.clean), dataset.folder / "Test" / f"{dataset.test}.PNG")
    return f"Test/{dataset.test}.PNG: has the same pixels as Train/{dataset.clean}.PNG of another split"


def _duplicate_row(dataset: Dataset) -> str:
    dataset.edit_labels(
        lambda text: text + f"0\t1\t{dataset.defective}.PNG\t0\t{dataset.defective}_label.PNG\r\n"
    )
    return f"Train/{dataset.defective}.PNG: is listed a second time in line 26"


def _malformed_row(dataset: Dataset) -> str:
    dataset.edit_labels(lambda text: text + "not five fields\r\n")
    return "Train/Label/Labels.txt: line 26 is 'not five fields', expected five fields separated by tabs"


def _no_labels(dataset: Dataset) -> str:
    (dataset.folder / "Train" / "Label" / "Labels.txt").unlink()
    return "Train/Label/Labels.txt: is missing"


def _binary_labels(dataset: Dataset) -> str:
    (dataset.folder / "Train" / "Label" / "Labels.txt").write_bytes(b"\xff\xfe\x00\x81")
    return "Train/Label/Labels.txt: is not text"


def _no_mask_in_row(dataset: Dataset) -> str:
    dataset.edit_labels(lambda text: text.replace(f"{dataset.defective}_label.PNG", "0"))
    return f"Train/{dataset.defective}.PNG: is listed as defective without a mask"


def _mask_in_clean_row(dataset: Dataset) -> str:
    dataset.edit_labels(lambda text: text.replace(f"{dataset.defective}\t1\t", f"{dataset.defective}\t0\t"))
    return (
        f"Train/{dataset.defective}.PNG: is listed as defect-free with the mask {dataset.defective}_label.PNG"
    )


def _mask_of_another(dataset: Dataset) -> str:
    dataset.edit_labels(
        lambda text: text.replace(f"{dataset.defective}_label.PNG", f"{dataset.second}_label.PNG")
    )
    return f"Train/{dataset.defective}.PNG: is listed with the mask {dataset.second}_label.PNG"


def _delete_from_train(dataset: Dataset, *kinds: bool) -> None:
    """Delete the images of Train whose flag `defective` is in `kinds`, with their masks and rows."""
    deleted = {name for kind in kinds for name in _names(dataset.folder, "Train", defective=kind)}
    for name in deleted:
        dataset.image(name).unlink()
        dataset.mask(name).unlink(missing_ok=True)
    dataset.edit_labels(
        lambda text: "".join(row for row in text.splitlines(keepends=True) if row[:4] not in deleted)
    )


def _empty_split(dataset: Dataset) -> str:
    _delete_from_train(dataset, True, False)
    return "Train: holds no usable image"


def _no_test(dataset: Dataset) -> str:
    shutil.rmtree(dataset.folder / "Test")
    return "Test: holds no usable image"


def _no_defective(dataset: Dataset) -> str:
    _delete_from_train(dataset, True)
    return "Train: holds no defective image"


def _no_clean(dataset: Dataset) -> str:
    _delete_from_train(dataset, False)
    return "Train: holds no defect-free image"


CASES: dict[str, Callable[[Dataset], str]] = {
    **{case: functools.partial(_replace_file, case=case) for case in FILES},
    "truncated": _truncated,
    "damaged byte": _damaged_byte,
    "duplicate across splits": _duplicate_across,
    "duplicate row": _duplicate_row,
    "malformed row": _malformed_row,
    "no labels": _no_labels,
    "binary labels": _binary_labels,
    "defective row without mask": _no_mask_in_row,
    "defect-free row with mask": _mask_in_clean_row,
    "mask of another image": _mask_of_another,
    "empty split": _empty_split,
    "no Test": _no_test,
    "no defective image": _no_defective,
    "no defect-free image": _no_clean,
}


@pytest.mark.parametrize("case", CASES)
def test_invalid_data_are_an_error_in_one_line_that_names_the_file_and_no_files_are_left(
    case: str, dataset: Dataset, tmp_path: Path
) -> None:
    expected = CASES[case](dataset)
    with pytest.raises(UserError) as caught:
        ingest(str(dataset.folder), tmp_path / "out" / "raw", category="class1")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_all_problems_are_collected(dataset: Dataset, tmp_path: Path) -> None:
    cases = ("16-bit", "mask with 128", "malformed row", "mask without row")
    expected = [CASES[case](dataset) for case in cases]
    problems = " | ".join(map(str, report_of(dataset.folder, tmp_path / "out").problems))
    assert [text for text in expected if text not in problems] == []


def test_an_image_that_repeats_another_image_of_its_split_is_a_warning_in_both_reports(
    dataset: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(dataset.image(dataset.defective), dataset.image(dataset.clean))
    first, second = sorted((dataset.defective, dataset.clean))
    ingest(str(dataset.folder), tmp_path / "raw", category="class1")
    report = json.loads((tmp_path / "raw" / "report.json").read_text())
    message = f"has the same pixels as Train/{first}.PNG"
    assert report["valid"]
    assert report["warnings"] == [{"file": f"Train/{second}.PNG", "message": message}]
    page = (tmp_path / "raw" / "report.html").read_text()
    assert "Warnings: 1." in page
    assert f"<code>Train/{second}.PNG</code> {message}" in page
    assert "images that repeat another image of their split: 1;" in capsys.readouterr().err


def test_images_that_are_not_square_are_a_problem(dataset: Dataset, tmp_path: Path) -> None:
    for path in dataset.folder.rglob("*.PNG"):
        path.write_bytes(_file(read_grey(path.read_bytes())[:48]))
    problems = [str(problem) for problem in report_of(dataset.folder, tmp_path / "out").problems]
    assert any("is 64×48, expected square images" in problem for problem in problems)


def test_other_files_are_ignored_and_listed(dataset: Dataset, tmp_path: Path) -> None:
    (dataset.folder / "Train" / "Thumbs.db").write_bytes(b"x")
    report = report_of(dataset.folder, tmp_path / "out")
    assert report.problems == ()
    assert report.listing.ignored == ("Train/Thumbs.db",)


def test_images_and_mask_pixels_are_counted(class1: Path, tmp_path: Path) -> None:
    report = report_of(class1, tmp_path / "out")
    assert report.problems == report.warnings == ()
    assert report.counts() == {
        "train": SplitCounts(images=24, defective=8),
        "test": SplitCounts(images=16, defective=5),
    }
    first = next(item for item in report.samples if item.mask)
    mask = np.asarray(Image.open(tmp_path / "out" / str(first.mask)))
    assert first.mask_pixels == np.count_nonzero(mask) > 0
    assert report.synthetic
    assert not report.complete


def test_one_file_with_the_mark_of_generated_images_makes_the_dataset_synthetic(
    dataset: Dataset, tmp_path: Path
) -> None:
    generated = dataset.image(dataset.clean).read_bytes()
    for path in dataset.folder.rglob("*.PNG"):
        path.write_bytes(_file(read_grey(path.read_bytes())))  # the same pixels without the mark
    assert not report_of(dataset.folder, tmp_path / "without").synthetic
    dataset.image(dataset.clean).write_bytes(generated)
    assert report_of(dataset.folder, tmp_path / "with").synthetic


def test_the_json_report_has_the_official_counts_and_the_mask_areas(raw: Path) -> None:
    report = json.loads((raw / "report.json").read_text())
    assert report["valid"]
    assert report["official"]["train"] == {"images": 575, "defective": 79}
    assert len(report["mask_pixels"]) == 13
