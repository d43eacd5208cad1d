"""Data sets that are joined by `+`: names, splits, masks of different kinds, and copies."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.errors import UserError
from tinyunet.data.ingest import check_local, find_all_categories, ingest
from tinyunet.data.ingestion.options import IngestOptions
from tinyunet.data.synthetic.generator import SyntheticConfig, generate

SIDE = 16


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_pairs(folder: Path, count: int, *, seed: int, level: int = 255, split: str = "") -> Path:
    """Write images and masks; every second mask is not empty and has the given level."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:3] = level * (number % 2)
        for kind, pixels in (("images", rng.integers(0, 255, (SIDE, SIDE), np.uint8)), ("masks", mask)):
            path = folder / kind / split / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(pixels))
    return folder


def by_split(manifest: RawManifest) -> dict[str, int]:
    return {split: counts.images for split, counts in manifest.splits.items()}


def file_of(manifest: RawManifest, name: str) -> RawFile:
    return next(file for file in manifest.files if file.name == name)


def test_the_last_source_gives_the_name_and_keeps_the_names_of_its_images(tmp_path: Path) -> None:
    review, base = write_pairs(tmp_path / "review", 4, seed=1), write_pairs(tmp_path / "part-7", 12, seed=2)
    alone = ingest(str(base), tmp_path / "alone")
    joined = ingest(f"{review}+{base}", tmp_path / "raw")
    assert joined.dataset == alone.dataset == "part-7"
    assert joined.source == f"{review}+{base}"
    names = {file.name: file.image_sha256 for file in joined.files}
    assert len(names) == 16
    assert {file.name: names[file.name] for file in alone.files} == {
        file.name: file.image_sha256 for file in alone.files
    }
    assert {"00-2", "03-2"} <= names.keys()
    for file in joined.files:
        assert (tmp_path / "raw" / file.image).is_file()


def test_three_sources_are_joined(tmp_path: Path) -> None:
    parts = [write_pairs(tmp_path / name, 6, seed=seed) for seed, name in enumerate(("a", "b", "c"))]
    manifest = ingest("+".join(map(str, parts)), tmp_path / "raw")
    assert manifest.dataset == "c"
    assert {"00", "00-2", "00-3"} <= {file.name for file in manifest.files}


def test_images_without_a_split_go_to_train_if_a_source_has_splits(tmp_path: Path) -> None:
    base = write_pairs(tmp_path / "base", 6, seed=1, split="train")
    write_pairs(base, 4, seed=2, split="test")
    review = write_pairs(tmp_path / "review", 5, seed=3)
    assert by_split(ingest(f"{review}+{base}", tmp_path / "raw")) == {"train": 11, "test": 4}


def test_masks_of_every_source_are_read_by_their_own_kind(tmp_path: Path) -> None:
    """In the second source, 1 is a defect type of two; in the first one, levels from 128 on are defective."""
    review = write_pairs(tmp_path / "review", 4, seed=1)
    base = write_pairs(tmp_path / "base", 12, seed=2, level=1)
    two = np.zeros((SIDE, SIDE), np.uint8)
    two[:5] = 2
    (base / "masks" / "01.png").write_bytes(png(two))
    manifest = ingest(f"{review}+{base}", tmp_path / "raw")
    mask = file_of(manifest, "01").mask
    assert mask is not None
    assert np.count_nonzero(Image.open(tmp_path / "raw" / mask)) == 5 * SIDE
    assert (file_of(manifest, "01").defect_type, file_of(manifest, "03").defect_type) == ("2", "1")
    assert (file_of(manifest, "01-2").defective, file_of(manifest, "01-2").defect_type) == (True, "")


def test_images_are_added_to_a_class_of_dagm2007_without_changing_its_test(tmp_path: Path) -> None:
    generate(tmp_path / "Class1", 1, SyntheticConfig(train=8, test=6, size=32))
    review = write_pairs(tmp_path / "review", 4, seed=1)
    alone = ingest(str(tmp_path / "Class1"), tmp_path / "alone", category="class1")
    joined = ingest(f"{review}+{tmp_path / 'Class1'}", tmp_path / "raw", category="class1")
    assert (joined.dataset, joined.category, joined.complete) == (alone.dataset, "class1", False)
    assert by_split(joined) == {"train": 12, "test": 6}
    test = [
        {(file.name, file.image_sha256, file.mask_sha256) for file in one.files if file.split == "test"}
        for one in (alone, joined)
    ]
    assert test[0] == test[1]


def test_a_copy_of_a_test_image_is_a_leak_as_in_one_source(tmp_path: Path) -> None:
    base = write_pairs(tmp_path / "base", 6, seed=1, split="train")
    write_pairs(base, 4, seed=2, split="test")
    review = write_pairs(tmp_path / "review", 5, seed=2)
    with pytest.raises(
        UserError, match=r"base/images/test/00.png: has the same pixels as \S*review/images/00.png"
    ):
        ingest(f"{review}+{base}", tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_a_fault_names_the_source_of_the_file(tmp_path: Path) -> None:
    review, base = write_pairs(tmp_path / "review", 4, seed=1), write_pairs(tmp_path / "base", 8, seed=2)
    (review / "masks" / "02.png").unlink()
    (base / "images" / "03.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="2 problems") as caught:
        ingest(f"{review}+{base}", tmp_path / "raw")
    assert f"{review}/images/02.png" in str(caught.value)
    assert f"{base}/images/03.png" in str(caught.value)
    manifest = ingest(f"{review}+{base}", tmp_path / "raw", IngestOptions(allow_partial=True))
    assert len(manifest.files) == 3 + 7


def test_the_options_of_the_layout_are_about_the_last_source(tmp_path: Path) -> None:
    review, base = write_pairs(tmp_path / "review", 4, seed=1), write_pairs(tmp_path / "base", 8, seed=2)
    (base / "images").rename(base / "x")
    (base / "masks").rename(base / "y")
    options = IngestOptions(images="x/*.png", masks="y/{stem}.png")
    check_local(f"{review}+{base}", options)
    assert len(ingest(f"{review}+{base}", tmp_path / "raw", options).files) == 12
    with pytest.raises(UserError, match="no known layout"):
        check_local(f"{base}+{review}", IngestOptions())


def test_the_categories_are_those_of_the_last_source(tmp_path: Path) -> None:
    review = write_pairs(tmp_path / "review", 4, seed=1)
    assert len(find_all_categories(f"{review}+synthetic://", IngestOptions())) == 10
