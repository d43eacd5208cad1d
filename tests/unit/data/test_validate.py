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

from tinyunet.core.documents.raw import SplitCounts
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import ingest
from tinyunet.data.pixels import read_grey
from tinyunet.data.validate import validate

# In the fixture Train is 0017 to 0040, Test 0001 to 0016.


@dataclass(frozen=True)
class Spoiled:
    """A dataset to spoil, and the names of some of its images."""

    folder: Path
    defective: str
    second: str
    clean: str
    test: str

    def image(self, name: str) -> Path:
        return self.folder / "Train" / f"{name}.PNG"

    def mask(self, name: str) -> Path:
        return self.folder / "Train" / "Label" / f"{name}_label.PNG"

    def edit(self, change: Callable[[str], str]) -> None:
        path = self.folder / "Train" / "Label" / "Labels.txt"
        path.write_bytes(change(path.read_bytes().decode()).encode())


@pytest.fixture
def bad(raw: Path, tmp_path: Path) -> Spoiled:
    for name in ("Train", "Test"):
        shutil.copytree(raw / name, tmp_path / "source" / name)
    defective, clean = (_names(raw, "Train", defective=flag) for flag in (True, False))
    return Spoiled(tmp_path / "source", *defective[:2], clean[0], _names(raw, "Test", defective=False)[0])


def _names(folder: Path, split: str, *, defective: bool) -> list[str]:
    masks = {path.name[:4] for path in (folder / split / "Label").glob("*_label.PNG")}
    return sorted(p.stem for p in (folder / split).glob("*.PNG") if (p.stem in masks) == defective)


def _png(array: np.ndarray, mode: str | None = None, kind: str = "PNG") -> bytes:
    file, picture = io.BytesIO(), Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(file, format=kind)
    return file.getvalue()


def _grey(size: int = 64, value: int = 7) -> np.ndarray:
    return np.full((size, size), value, np.uint8)


def _huge() -> bytes:
    data = _png(_grey(4))
    return data[:16] + (100_000).to_bytes(4, "big") * 2 + data[24:]


# case: (which file, its new bytes; None removes it, what the message says of it)
FILES: dict[str, tuple[str, bytes | None, str]] = {
    "missing mask": ("mask", None, "is missing, but listed in line"),
    "missing image": ("clean", None, "is missing, but listed in line"),
    "mask of a clean image": ("clean mask", _png(_grey()), "is the mask of an image listed as defect-free"),
    "image without row": ("strange image", _png(_grey()), "has no row in Labels.txt"),
    "mask without row": ("strange mask", _png(_grey()), "has no row in Labels.txt"),
    "other size": ("clean", _png(_grey(32)), "is 32×32, most are 64×64"),
    "16-bit": ("clean", _png(np.full((64, 64), 300, np.uint16)), "is 16-bit grey, expected 8-bit grey"),
    "rgb": ("clean", _png(np.zeros((64, 64, 3), np.uint8)), "is 8-bit RGB, expected 8-bit grey"),
    "palette": ("clean", _png(_grey(), "P"), "is 8-bit palette, expected 8-bit grey"),
    "1-bit mask": ("mask", _png(_grey(value=255), "1"), "is 1-bit grey, expected 8-bit grey"),
    "empty file": ("clean", b"", "is empty, expected a PNG"),
    "jpeg": ("clean", _png(_grey(), kind="JPEG"), "is no PNG"),
    "bomb": ("clean", _huge(), "claims 100000×100000 pixels, expected at most 8192×8192"),
    "mask with 128": ("mask", _png(_grey(value=255) - 127 * np.eye(64, dtype="u1")), "holds the value 128"),
    "mask of another size": ("mask", _png(_grey(32, 255)), "is 32×32, its image 64×64"),
    "empty mask": ("mask", _png(_grey(value=0)), "is all 0, but its image is listed as defective"),
}  # fmt: skip


def _replace_file(bad: Spoiled, case: str) -> str:
    key, data, message = FILES[case]
    path = {
        "clean": bad.image(bad.clean),
        "mask": bad.mask(bad.defective),
        "clean mask": bad.mask(bad.clean),
        "strange image": bad.image("9999"),
        "strange mask": bad.mask("9999"),
    }[key]
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    return f"{path.relative_to(bad.folder)}: {message}"


def _truncated(bad: Spoiled) -> str:
    path = bad.image(bad.clean)
    path.write_bytes(path.read_bytes()[:900])
    return f"Train/{bad.clean}.PNG: is truncated or damaged"


def _flipped_byte(bad: Spoiled) -> str:
    path = bad.image(bad.clean)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    return f"Train/{bad.clean}.PNG: is truncated or damaged"


def _duplicate_across(bad: Spoiled) -> str:
    shutil.copy(bad.image(bad.clean), bad.folder / "Test" / f"{bad.test}.PNG")
    return f"Test/{bad.test}.PNG: has the same pixels as Train/{bad.clean}.PNG of the other split"


def _duplicate_row(bad: Spoiled) -> str:
    bad.edit(lambda text: text + f"0\t1\t{bad.defective}.PNG\t0\t{bad.defective}_label.PNG\r\n")
    return f"Train/{bad.defective}.PNG: is listed twice, again in line 26"


def _malformed_row(bad: Spoiled) -> str:
    bad.edit(lambda text: text + "what is this\r\n")
    return "Train/Label/Labels.txt: line 26 is 'what is this'"


def _no_labels(bad: Spoiled) -> str:
    (bad.folder / "Train" / "Label" / "Labels.txt").unlink()
    return "Train/Label/Labels.txt: is missing"


def _binary_labels(bad: Spoiled) -> str:
    (bad.folder / "Train" / "Label" / "Labels.txt").write_bytes(b"\xff\xfe\x00\x81")
    return "Train/Label/Labels.txt: is not text"


def _no_mask_in_row(bad: Spoiled) -> str:
    bad.edit(lambda text: text.replace(f"{bad.defective}_label.PNG", "0"))
    return f"Train/{bad.defective}.PNG: is defective without a mask"


def _mask_in_clean_row(bad: Spoiled) -> str:
    bad.edit(lambda text: text.replace(f"{bad.defective}\t1\t", f"{bad.defective}\t0\t"))
    return f"Train/{bad.defective}.PNG: is defect-free with the mask {bad.defective}_label.PNG"


def _mask_of_another(bad: Spoiled) -> str:
    bad.edit(lambda text: text.replace(f"{bad.defective}_label.PNG", f"{bad.second}_label.PNG"))
    return f"Train/{bad.defective}.PNG: has the mask {bad.second}_label.PNG"


def _only(bad: Spoiled, keep: Callable[[str, bool], bool]) -> None:
    """Keep the images of Train for which `keep(name, defective)`."""
    for flag in (True, False):
        for name in _names(bad.folder, "Train", defective=flag):
            if not keep(name, flag):
                bad.image(name).unlink()
                bad.mask(name).unlink(missing_ok=True)
    left = {path.stem for path in (bad.folder / "Train").glob("*.PNG")}
    bad.edit(lambda text: "".join(r for r in text.splitlines(keepends=True) if r[:4] in left or r == "1\r\n"))


def _empty_split(bad: Spoiled) -> str:
    _only(bad, lambda name, defective: False)
    return "Train: holds no usable image"


def _no_test(bad: Spoiled) -> str:
    shutil.rmtree(bad.folder / "Test")
    return "Test: holds no usable image"


def _no_defective(bad: Spoiled) -> str:
    _only(bad, lambda name, defective: not defective)
    return "Train: holds no defective image"


def _no_clean(bad: Spoiled) -> str:
    _only(bad, lambda name, defective: defective)
    return "Train: holds no defect-free image"


CASES: dict[str, Callable[[Spoiled], str]] = {
    **{case: functools.partial(_replace_file, case=case) for case in FILES},
    "truncated": _truncated,
    "flipped byte": _flipped_byte,
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
def test_bad_data_are_refused_in_one_line_that_names_the_file_and_nothing_stays(
    case: str, bad: Spoiled, tmp_path: Path
) -> None:
    expected = CASES[case](bad)
    with pytest.raises(UserError) as caught:
        ingest(str(bad.folder), tmp_path / "out" / "raw", class_id=1)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_all_problems_are_collected(bad: Spoiled) -> None:
    spoiled = ("16-bit", "mask with 128", "malformed row", "mask without row")
    expected = [CASES[case](bad) for case in spoiled]
    problems = " | ".join(map(str, validate(bad.folder, 1).problems))
    assert [text for text in expected if text not in problems] == []


def test_an_image_that_repeats_another_of_its_split_is_a_warning_in_both_reports(
    bad: Spoiled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(bad.image(bad.defective), bad.image(bad.clean))
    first, second = sorted((bad.defective, bad.clean))
    ingest(str(bad.folder), tmp_path / "raw", class_id=1)
    report = json.loads((tmp_path / "raw" / "report.json").read_text())
    message = f"has the same pixels as Train/{first}.PNG"
    assert report["valid"]
    assert report["warnings"] == [{"file": f"Train/{second}.PNG", "message": message}]
    page = (tmp_path / "raw" / "report.html").read_text()
    assert "Warnings: 1." in page
    assert f"<code>Train/{second}.PNG</code> {message}" in page
    assert "images that repeat another of their split: 1," in capsys.readouterr().err


def test_images_that_are_not_square_are_refused(bad: Spoiled) -> None:
    for path in bad.folder.rglob("*.PNG"):
        path.write_bytes(_png(read_grey(path.read_bytes())[:48]))
    problems = [str(problem) for problem in validate(bad.folder, 1).problems]
    assert any("is 64×48, expected square images" in problem for problem in problems)


def test_thumbs_db_and_other_strangers_are_ignored_and_listed(bad: Spoiled) -> None:
    strangers = {"Train/Thumbs.db", "Test/.DS_Store", "Train/Label/._0017_label.PNG"}
    for name in strangers:
        (bad.folder / name).write_bytes(b"x")
    report = validate(bad.folder, 1)
    assert report.problems == ()
    assert set(report.ignored) == strangers


def test_a_good_dataset_counts_images_and_mask_pixels(raw: Path) -> None:
    report = validate(raw, 1)
    assert report.problems == report.warnings == ()
    assert report.counts() == {
        "train": SplitCounts(images=24, defective=8),
        "test": SplitCounts(images=16, defective=5),
    }
    first = next(c for c in report.checked if c.sample.mask_path)
    assert first.sample.mask_path
    assert first.mask_pixels == np.count_nonzero(np.asarray(Image.open(first.sample.mask_path)))
    assert report.synthetic
    assert not report.complete


def test_one_generated_image_among_others_makes_all_synthetic_and_its_pixels_alone_do_not(
    bad: Spoiled,
) -> None:
    paths = sorted(bad.folder.rglob("*.PNG"))
    first = bad.image(bad.clean).read_bytes()
    for path in paths:
        path.write_bytes(_png(read_grey(path.read_bytes())))
    assert not validate(bad.folder, 1).synthetic
    bad.image(bad.clean).write_bytes(first)
    assert validate(bad.folder, 1).synthetic


def test_grey_levels_survive_decoding() -> None:
    array = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(read_grey(_png(array)), array)
