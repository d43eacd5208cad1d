"""Names, concurrency and progress of transfers."""

import time
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.storage.transfer import (
    FIRST_LINE_S,
    THREADS,
    Transfer,
    run_concurrently,
    safe_target,
    split_uri,
)


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "", "a\0b"])
def test_a_name_outside_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a safe file name"):
        safe_target(tmp_path, name)


def test_a_relative_name_is_inside_the_folder(tmp_path: Path) -> None:
    assert safe_target(tmp_path, "a/b..c/d.bin") == tmp_path / "a" / "b..c" / "d.bin"


@pytest.mark.parametrize("key", ["a/../b", "..", "a/./b", "./b"])
def test_a_key_with_dot_components_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=r"has '\.' or '\.\.' in its name"):
        split_uri(f"s3://bucket/{key}")


def test_the_first_exception_is_raised_and_cancels_the_items_that_wait() -> None:
    called = []

    def fail_first(item: int) -> None:
        called.append(item)
        if not item:
            raise UserError("object 0 does not exist")
        time.sleep(0.1)

    with pytest.raises(UserError, match="object 0 does not exist"):
        run_concurrently(fail_first, range(40 * THREADS))
    assert len(called) < 30 * THREADS


def test_a_long_transfer_prints_its_progress_without_credentials(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with Transfer("download https://u:p@host/x?sig=s", 40_000_000) as transfer:
        for seconds in (FIRST_LINE_S - 1, 1, 1, FIRST_LINE_S - 1):
            clock[0] += seconds
            transfer.advance(5_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "download https://***@host/x?sig=***: 10.0/40.0 MB, 2.0 MB/s, ETA 15 s",
        "download https://***@host/x?sig=***: 20.0/40.0 MB, 2.0 MB/s, ETA 10 s",
    ]
