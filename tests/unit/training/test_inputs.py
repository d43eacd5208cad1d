"""Records that are prepared for one training, and the normalization of its images."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.data.dataset import Split, statistics
from tinyunet.training.distributed import World
from tinyunet.training.download import early_preparation
from tinyunet.training.inputs import LocalRecords, local_records, normalization
from tinyunet.training.run import TrainingRun
from tinyunet.training.verification import RecordsVerification

SOURCE = "synthetic://?train=24&test=4&size=64"


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tinyunet.core.locks.LOCK_TIMEOUT_S", 0.1)


def test_a_local_folder_of_records_is_used_itself(records: Path) -> None:
    with local_records(TrainingRun(records=str(records), out="model"), World()) as local:
        assert local.folder == records


@pytest.fixture
def damaged(records: Path, tmp_path: Path) -> Path:
    """Records of which the last byte of a training shard has changed."""
    folder = Path(shutil.copytree(records, tmp_path / "records"))
    (shard, *_) = sorted(folder.glob("train*.tfrecord"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    return folder


@pytest.mark.parametrize("early", [False, True])
def test_damaged_records_end_a_training_before_its_first_step(damaged: Path, early: bool) -> None:
    run = TrainingRun(records=str(damaged), out="model")
    with early_preparation(run) if early else nullcontext() as preparation:
        assert isinstance(preparation, RecordsVerification) is early
        with (
            local_records(run, World(), preparation) as opened,
            pytest.raises(UserError, match=r"train-00000-of-00002\.tfrecord has changed"),
        ):
            opened.split("train", 64)
        with pytest.raises(UserError, match="has changed"):
            opened.check()


def test_a_verification_that_is_cancelled_reads_no_further(damaged: Path) -> None:
    verification = RecordsVerification(damaged)
    verification._cancelled.set()
    with verification, pytest.raises(InterruptedError, match="not needed any more"):
        verification.wait("train")


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    missing = local_records(TrainingRun(records=str(tmp_path / "absent"), out="model"), World())
    with pytest.raises(UserError, match="absent does not exist; expected TFRecords"), missing:
        pytest.fail("records without a source")


def test_a_second_training_of_the_same_run_key_cannot_use_the_records(tmp_path: Path) -> None:
    run = TrainingRun(records=SOURCE, out="model", category="class1", run_key="twice")
    with local_records(run, World()) as records:
        before = sorted(records.folder.iterdir())
        second = local_records(run, World())
        with pytest.raises(UserError, match=r"another training holds .*twice-records\.lock"), second:
            pytest.fail("two trainings use one folder")
        assert sorted(records.folder.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_the_records_of_a_failed_training_are_deleted(tmp_path: Path) -> None:
    def fail(records: LocalRecords) -> None:
        assert len(records.split("train", 64)) == 21
        raise ZeroDivisionError

    failing = local_records(TrainingRun(records=SOURCE, out="model", category="class1"), World())
    with pytest.raises(ZeroDivisionError), failing as records:
        fail(records)
    assert list(tmp_path.iterdir()) == []


def test_normalization_maps_to_mean_zero_and_deviation_one_or_to_minus_one_and_one() -> None:
    """Half of the pixels are 100 and half are 120: the mean is 110, the deviation 10."""
    images = np.array([[[100, 120], [120, 100]]], np.uint8)
    split = Split("train", images, np.zeros_like(images), np.array([True]), ("a",))
    standard = normalization(FAST, 8, lambda: statistics(split))
    assert [grey * standard.scale + standard.offset for grey in (100, 120)] == pytest.approx([-1, 1])
    for bits, largest in ((8, 255), (16, 65535)):
        published = normalization(NVIDIA, bits, lambda: statistics(split))
        assert [grey * published.scale + published.offset for grey in (0, largest)] == pytest.approx([-1, 1])
