"""Records made for one training: its alone, and gone with it."""

from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.training.distributed import World
from tinyunet.training.inputs import local_records

SOURCE = "synthetic://?train=24&test=4&size=64"


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tinyunet.core.locks.LOCK_TIMEOUT_S", 0.1)


def test_a_second_training_of_the_same_key_leaves_the_records_of_the_first(tmp_path: Path) -> None:
    with local_records(SOURCE, World(), class_id=1, run_key="twice") as records:
        before = sorted(records.iterdir())
        second = local_records(SOURCE, World(), class_id=1, run_key="twice")
        with pytest.raises(UserError, match=r"another training holds .*twice-records\.lock"), second:
            pytest.fail("two trainings share a folder")
        assert sorted(records.iterdir()) == before
    assert list(tmp_path.iterdir()) == []


def test_records_of_a_training_that_fails_go_with_it(tmp_path: Path) -> None:
    def fail(records: Path) -> None:
        assert (records / "manifest.json").is_file()
        raise ZeroDivisionError

    failing = local_records(SOURCE, World(), class_id=1, run_key="fails")
    with pytest.raises(ZeroDivisionError), failing as records:
        fail(records)
    assert list(tmp_path.iterdir()) == []
