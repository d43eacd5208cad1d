"""Atomic writes, file system errors, free space, and the cache folder."""

import errno
import fcntl
import os
import subprocess
import time
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.files import (
    KEPT,
    atomic_folder,
    atomic_path,
    cache_folder,
    file_errors,
    keep_in_use,
    make_cache_folder,
    mark_used,
    require_space,
    scratch_folder,
    why_unreadable,
)

SETUP = Path(__file__).parents[3] / ".ci" / "setup"


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "old")]


def test_the_remains_of_a_killed_process_are_deleted_first(tmp_path: Path) -> None:
    (tmp_path / "x.part").mkdir()
    (tmp_path / "x.part" / "old").touch()
    with atomic_path(tmp_path / "x") as part:
        part.mkdir()
        (part / "new").touch()
    assert names(tmp_path) == ["x", "x/new"]


def test_an_older_result_is_replaced(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "out", marker="done") as part:
            (part / "done").touch()
            (part / name).touch()
    assert names(tmp_path) == ["out", "out/done", "out/new"]


def test_a_folder_without_the_marker_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").touch()
    with (
        pytest.raises(UserError, match="is not empty and holds no done"),
        atomic_folder(tmp_path / "out", marker="done"),
    ):
        pytest.fail("the folder was accepted")
    assert names(tmp_path) == ["out", "out/notes.txt"]


def test_a_file_is_not_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with (
        pytest.raises(UserError, match="is a file; expected a folder"),
        atomic_folder(tmp_path / "out", marker="done"),
    ):
        pytest.fail("the file was accepted")


def test_a_scratch_folder_and_its_new_parents_are_deleted(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "a" / "b" / "out") as part:
        (part / "x").touch()
    assert names(tmp_path) == []


def test_a_scratch_folder_that_became_the_output_remains(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "a" / "out") as part:
        part.rename(tmp_path / "a" / "out")
    assert names(tmp_path) == ["a", "a/out"]


def test_a_file_system_error_names_path_reason_and_output(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    message = f"{absent}: No such file or directory while writing out; correct this"
    with pytest.raises(UserError, match=message), file_errors(Path("out")):
        absent.read_bytes()


def test_a_transfer_larger_than_the_free_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="free some space"):
        require_space(tmp_path / "new" / "x", 10**18)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "/home/mpiuser/.cache/tinyunet"),
        ({"XDG_CACHE_HOME": "/somewhere"}, "/somewhere/tinyunet"),
        ({"XDG_CACHE_HOME": "/somewhere", "TINYUNET_CACHE": "/elsewhere"}, "/elsewhere"),
    ],
)
def test_setup_and_library_have_the_same_cache_folder(
    changes: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "TINYUNET_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/mpiuser"} | changes).items():
        monkeypatch.setenv(name, value)
    (rule,) = (line for line in SETUP.read_text().splitlines() if line.startswith("cache="))
    shell = subprocess.run(
        ["bash", "-c", f'{rule}; echo "$cache"'], stdout=subprocess.PIPE, text=True, check=True
    )
    assert shell.stdout.strip() == str(cache_folder()) == expected


def test_a_cache_folder_that_cannot_be_made_is_named_with_the_variable(tmp_path: Path) -> None:
    make_cache_folder(tmp_path / "cache" / "engines")
    make_cache_folder(tmp_path / "cache" / "engines")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/cache: Not a directory; set TINYUNET_CACHE to a folder that"):
        make_cache_folder(tmp_path / "file" / "cache")


def test_only_regular_files_are_readable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "broken").symlink_to("absent")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    reasons = {
        name: why_unreadable(tmp_path / name) for name in ("file", "link", "broken", "loop", "pipe", "x")
    }
    assert reasons == {
        "file": None,
        "link": None,
        "broken": "is a broken link (to absent)",
        "loop": "is in a loop of links",
        "pipe": "is not a regular file",
        "x": "cannot be read (No such file or directory)",
    }
    assert why_unreadable(tmp_path) == "is a folder"


def test_the_last_used_folders_of_the_cache_and_those_of_the_last_week_are_kept(tmp_path: Path) -> None:
    now, day = time.time(), 24 * 3600
    for age in range(1, 31):  # days since the last use
        (tmp_path / f"{age:02d}").mkdir()
        (tmp_path / f"{age:02d}" / "model").touch()
        os.utime(tmp_path / f"{age:02d}", (now - age * day,) * 2)
    assert mark_used(tmp_path / "30") == tmp_path / "30"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{age:02d}" for age in [*range(1, 20), 30]]
    for path in tmp_path.iterdir():
        os.utime(path, (now - 2 * day,) * 2)
    (tmp_path / "new").mkdir()
    mark_used(tmp_path / "new")
    assert len(list(tmp_path.iterdir())) == 21


def test_a_folder_of_the_cache_that_an_object_uses_is_kept(tmp_path: Path) -> None:
    class User: ...

    user = User()
    for number in range(22):
        (tmp_path / f"{number:02d}").mkdir()
        os.utime(tmp_path / f"{number:02d}", (number, number))
    keep_in_use(tmp_path / "00", user)
    keep_in_use(tmp_path / "absent", user)
    mark_used(tmp_path / "21")
    assert sorted(path.name for path in tmp_path.iterdir())[:2] == ["00", "02"]
    del user
    mark_used(tmp_path / "21")
    assert not (tmp_path / "00").exists()


def test_a_cache_on_a_file_system_without_locks_does_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    for number in range(KEPT + 3):
        (tmp_path / f"{number:02d}").mkdir()
        os.utime(tmp_path / f"{number:02d}", (number, number))
    mark_used(tmp_path / "22")
    assert names(tmp_path) == [f"{number:02d}" for number in range(3, KEPT + 3)]


def test_a_folder_of_the_cache_that_cannot_be_opened_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = os.open

    def refuse(path: Path, *args: int, **options: int) -> int:
        if path == tmp_path / "00":
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_file(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    for number in range(KEPT + 3):
        (tmp_path / f"{number:02d}").mkdir()
        os.utime(tmp_path / f"{number:02d}", (number, number))
    mark_used(tmp_path / "22")
    assert {"01", "02"}.isdisjoint(names(tmp_path))


def test_a_cache_that_cannot_be_written_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert mark_used(tmp_path) == tmp_path
