"""One training at a time in a folder: who waits, who is refused, and what a deleted lock is worth."""

import fcntl
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import pytest

from tinyunet.core import locks
from tinyunet.core.errors import UserError
from tinyunet.core.locks import exclusive_lock


def test_a_training_that_is_about_to_let_go_is_waited_for(tmp_path: Path) -> None:
    with ExitStack() as first:
        first.enter_context(exclusive_lock(tmp_path / "kept"))
        ending = threading.Timer(0.3, first.close)
        ending.start()
        with exclusive_lock(tmp_path / "kept"):
            assert (tmp_path / "kept.lock").is_file()
        ending.join()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_a_file_that_its_last_holder_has_deleted_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder ends between our opening of the file and our lock on it."""
    path, real = tmp_path / "kept.lock", fcntl.flock

    def late(file: TextIO, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        path.unlink()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    monkeypatch.setattr(locks, "LOCK_TIMEOUT_S", 0.1)
    second = exclusive_lock(tmp_path / "kept")
    with exclusive_lock(tmp_path / "kept"), pytest.raises(UserError, match="another training holds"), second:
        pytest.fail("two trainings share a folder")


def test_the_file_is_deleted_before_another_can_lock_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the one that goes would delete the lock of the one that came."""
    held, unlink = [], Path.unlink

    def watched(path: Path, *, missing_ok: bool = False) -> None:
        with path.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(path.name)
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", watched)
    with exclusive_lock(tmp_path / "kept"):
        pass
    assert held == ["kept.lock"]


def test_checkpoints_on_s3_leave_no_lock_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with exclusive_lock("s3://bucket/kept"):
        assert list(tmp_path.iterdir()) == []
