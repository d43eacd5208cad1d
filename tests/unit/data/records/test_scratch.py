import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.data.canonical import make_records, random_parts
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.records import scratch
from tinyunet.data.records.reader import RecordReader
from tinyunet.data.records.scratch import ResizedImages, resized
from tinyunet.data.resize import area_average

SHAPES = [(20, 28), (16, 16), (36, 12), (24, 24), (20, 20), (16, 32), (12, 12), (8, 36)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RecordsManifest]:
    return make_records(tmp_path_factory.mktemp("scratch"), random_parts([(*s, 3) for s in SHAPES]))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def _open(made: tuple[Path, RecordsManifest], size: int = 16) -> ResizedImages:
    reader = RecordReader(made[0], "train", made[1])
    return resized(reader, made[1].digest, "train", size)


def _all(images: ResizedImages) -> NDArray[Any]:
    return np.stack([images.image(number) for number in range(6)])


def test_the_images_and_masks_are_area_averages(made: tuple[Path, RecordsManifest], temporary: Path) -> None:
    reader = RecordReader(made[0], "train", made[1])
    images = _open(made)
    for number in range(6):
        np.testing.assert_array_equal(images.image(number), area_average(reader.image(number), 16))
        np.testing.assert_array_equal(images.mask(number), area_average(reader.mask(number), 16))
        np.testing.assert_array_equal(images.mask(number, slice(3, 9)), images.mask(number)[3:9])
        assert images.mask(number).any() == reader.defective[number]


def test_the_files_are_made_once_and_removed_by_the_last_user(
    made: tuple[Path, RecordsManifest], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _open(made)
    monkeypatch.setattr(scratch, "area_average", None)  # resizing again would be an error
    second = _open(made)
    np.testing.assert_array_equal(_all(first), _all(second))
    assert len(list(temporary.iterdir())) == 2  # the folder and its lock
    del first
    assert len(list(temporary.iterdir())) == 2
    del second
    assert list(temporary.iterdir()) == []


def test_incomplete_files_of_a_killed_process_are_made_again(
    made: tuple[Path, RecordsManifest], temporary: Path
) -> None:
    images = _open(made)
    expected = _all(images)
    (folder,) = (path for path in temporary.iterdir() if path.is_dir())
    del images
    folder.mkdir()
    (folder / scratch.IMAGES).write_bytes(b"half")
    np.testing.assert_array_equal(_all(_open(made)), expected)


def test_a_failure_leaves_no_files(
    made: tuple[Path, RecordsManifest], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "area_average", None)
    with pytest.raises(TypeError):
        _open(made)
    assert list(temporary.iterdir()) == []


def _sum(made: tuple[Path, RecordsManifest], folder: str) -> int:
    import tempfile

    tempfile.tempdir = folder
    return int(_all(_open(made)).sum())


def test_several_processes_share_the_files(made: tuple[Path, RecordsManifest], temporary: Path) -> None:
    expected = int(_all(_open(made)).sum())
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        sums = pool.starmap(_sum, [(made, str(temporary))] * 6)
    assert sums == [expected] * 6
    assert list(temporary.glob("tinyunet-*")) == []
