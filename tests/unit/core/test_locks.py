"""The lock of a folder: waiting, the timeout, and a lock file that was deleted."""

import fcntl
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import pytest

from tinyunet.core import locks
from tinyunet.core.errors import UserError
from tinyunet.core.locks import exclusive_lock


def test_a_training_waits_for_a_lock_that_is_released_soon(tmp_path: Path) -> None:
    with ExitStack() as first:
        first.enter_context(exclusive_lock(tmp_path / "checkpoints"))
        ending = threading.Timer(0.3, first.close)
        ending.start()
        with exclusive_lock(tmp_path / "checkpoints"):
            assert (tmp_path / "checkpoints.lock").is_file()
        ending.join()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_a_deleted_file_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first training ends after the second has opened the file, and before the second locks it."""
    path, real = tmp_path / "checkpoints.lock", fcntl.flock

    def lock_after_the_deletion(file: TextIO, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        path.unlink()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", lock_after_the_deletion)
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_S", 0.1)
    second = exclusive_lock(tmp_path / "checkpoints")
    with (
        exclusive_lock(tmp_path / "checkpoints"),
        pytest.raises(UserError, match="another training holds"),
        second,
    ):
        pytest.fail("two trainings share a folder")


def test_the_file_is_deleted_before_the_lock_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the other order, a training that ends could delete the lock of the next one."""
    deleted, unlink = [], Path.unlink

    def unlink_a_locked_file(path: Path, *, missing_ok: bool = False) -> None:
        with path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        deleted.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_a_locked_file)
    with exclusive_lock(tmp_path / "checkpoints"):
        pass
    assert deleted == ["checkpoints.lock"]
