"""Comparison with the official class of DAGM2007."""

import hashlib
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.unit.data.conftest import copy_class, report_of
from tinyunet.data.ingest import ingest
from tinyunet.data.ingestion.official import DAGM_SPLITS, check_dagm, is_official, labels_digest, note_counts
from tinyunet.data.ingestion.prepare import PreparedSample
from tinyunet.data.ingestion.validate import Report
from tinyunet.data.layouts.base import Listing, SourceFile, SourceSample
from tinyunet.data.layouts.dagm import OFFICIAL_COUNTS, OFFICIAL_LABELS

Samples = list[PreparedSample]


def _sample(
    split: str, name: str, *, defective: bool, size: int = 512, synthetic: bool = False
) -> PreparedSample:
    file = SourceFile(f"{split.capitalize()}/{name}.PNG", bytes)
    sample = SourceSample(name, file, None, split, defective=defective)
    return PreparedSample(sample, shape=(size, size), pixels_sha256=split + name, synthetic=synthetic)


def _class(
    train: tuple[int, int], test: tuple[int, int], size: int = 512, *, synthetic: bool = False
) -> Samples:
    """Return samples without problems; `train` and `test` are the numbers of images and defective images."""
    return [
        _sample(split, str(n), defective=n < defective, size=size, synthetic=synthetic)
        for split, (images, defective) in (("train", train), ("test", test))
        for n in range(images)
    ]


def _check(samples: Samples) -> Report:
    return check_dagm(Report(Listing("dagm", "", "class4"), tuple(samples)))


def _declare_official(samples: Samples, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the official labels of a class by those of these samples."""
    by_split = {split: [s for s in samples if s.sample.split == split] for split in DAGM_SPLITS}
    counts = {split: (len(items), sum(s.defective for s in items)) for split, items in by_split.items()}
    monkeypatch.setitem(OFFICIAL_COUNTS, number, counts)
    digests = {split: labels_digest(items) for split, items in by_split.items()}
    monkeypatch.setitem(OFFICIAL_LABELS, number, digests)


def test_the_digest_of_labels_is_the_hash_of_the_sorted_lines() -> None:
    samples = [_sample("train", name, defective=flag) for name, flag in (("b", True), ("a", False))]
    assert labels_digest(samples) == hashlib.sha256(b"a 0\nb 1\n").hexdigest()[:16]


def test_a_class_with_the_official_names_and_labels_is_official(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = _class((57, 8), (57, 6))
    assert not _check(samples).complete
    _declare_official(samples, 4, monkeypatch)
    report = _check(samples)
    assert report.complete
    assert report.problems == report.notes == ()
    assert not is_official(samples[1:], 4)
    assert not is_official(samples, 5)


def test_an_official_split_must_have_the_official_size(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = _class((57, 8), (57, 6), 256)
    _declare_official(samples, 4, monkeypatch)
    report = _check(samples)
    assert str(report.problems[0]) == "Train: has all 57 images of Class4, but not all have 512×512 pixels"
    assert not report.complete
    assert _check(_class((57, 8), (57, 6), 256, synthetic=True)).problems == ()


@pytest.mark.parametrize("defective", [58, 82])
def test_a_split_that_only_has_the_official_number_of_images_is_noted_and_not_official(
    defective: int,
) -> None:
    samples = _class((575, defective), (100, 20), 256)
    report = _check(samples)
    assert report.problems == ()
    assert not report.complete
    (note,) = report.notes
    assert note.startswith("Train: has 575 images, as many as the official Class4, but its names and labels")
    assert f"({defective} defective, official 82)" in note


def test_generated_images_of_the_official_number_need_not_agree_with_the_official_class() -> None:
    samples = _class((575, 3), (100, 20), 256, synthetic=True)
    assert note_counts(samples, 4)
    report = _check(samples)
    assert report.problems == report.notes == ()


@pytest.mark.parametrize("defective", [0, 30])
def test_images_of_one_kind_are_enough_in_test(defective: int) -> None:
    assert _check(_class((100, 20), (30, defective))).problems == ()


def test_notes_are_printed_and_reported_and_the_images_are_written(
    class1: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = copy_class(class1, tmp_path / "source")
    for path in folder.rglob("*.PNG"):
        file = io.BytesIO()
        Image.open(path).save(file, "PNG")  # without the mark of generated images
        path.write_bytes(file.getvalue())
    assert not report_of(folder, tmp_path / "out").synthetic
    monkeypatch.setitem(OFFICIAL_COUNTS, 1, {"train": (24, 8), "test": (16, 5)})
    assert not ingest(str(folder), tmp_path / "raw").complete
    assert capsys.readouterr().err.count("note: T") == 2
    report = json.loads((tmp_path / "raw" / "report.json").read_text())
    assert [note.split(":")[0] for note in report["notes"][-2:]] == ["Train", "Test"]
    assert "it is not treated as official" in (tmp_path / "raw" / "report.html").read_text()
