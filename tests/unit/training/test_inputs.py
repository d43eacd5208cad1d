"""Records that are prepared for one training, and the normalization of its images."""

from pathlib import Path

import numpy as np
import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.data.dataset import Split
from tinyunet.training.distributed import World
from tinyunet.training.inputs import local_records, normalization

SOURCE = "synthetic://?train=24&test=4&size=64"


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tinyunet.core.locks.LOCK_TIMEOUT_S", 0.1)


def test_a_local_folder_of_records_is_used_itself(records: Path) -> None:
    with local_records(str(records), World(), category="class1", run_key="local") as folder:
        assert folder == records


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    missing = local_records(str(tmp_path / "absent"), World(), category="class1", run_key="missing")
    with pytest.raises(UserError, match="absent does not exist; expected TFRecords"), missing:
        pytest.fail("records without a source")


def test_a_second_training_of_the_same_run_key_cannot_use_the_records(tmp_path: Path) -> None:
    with local_records(SOURCE, World(), category="class1", run_key="twice") as records:
        before = sorted(records.iterdir())
        second = local_records(SOURCE, World(), category="class1", run_key="twice")
        with pytest.raises(UserError, match=r"another training holds .*twice-records\.lock"), second:
            pytest.fail("two trainings use one folder")
        assert sorted(records.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_the_records_of_a_failed_training_are_deleted(tmp_path: Path) -> None:
    def fail(records: Path) -> None:
        assert (records / "manifest.json").is_file()
        raise ZeroDivisionError

    failing = local_records(SOURCE, World(), category="class1", run_key="fails")
    with pytest.raises(ZeroDivisionError), failing as records:
        fail(records)
    assert list(tmp_path.iterdir()) == []


def test_normalization_maps_to_mean_zero_and_deviation_one_or_to_minus_one_and_one() -> None:
    """Half of the pixels are 100 and half are 120: the mean is 110, the deviation 10."""
    images = np.array([[[100, 120], [120, 100]]], np.uint8)
    split = Split("train", images, np.zeros_like(images), np.array([True]), ("a",))
    standard = normalization(FAST, split)
    assert [grey * standard.scale + standard.offset for grey in (100, 120)] == pytest.approx([-1, 1])
    published = normalization(NVIDIA, split)
    assert [grey * published.scale + published.offset for grey in (0, 255)] == pytest.approx([-1, 1])
