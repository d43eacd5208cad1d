from pathlib import Path

import numpy as np
import pytest

from tinyunet.data.records import mapped
from tinyunet.data.records.mapped import MappedFiles


def _resident_kib(path: Path) -> int:
    """Return how much of a mapped file counts as memory of this process."""
    size, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.endswith(str(path)):
            inside = True
        elif inside and line.startswith("Rss:"):
            size, inside = size + int(line.split()[1]), False
    return size


def test_the_memory_of_a_process_that_reads_a_file_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(range(9)))
        file.truncate(64 << 20)
    files, limit = MappedFiles([tmp_path / "file"]), 4 << 20
    monkeypatch.setattr(mapped, "RELEASE_BYTES", limit)
    first = files.array(0, 0, (9,), np.uint8)
    for offset in range(0, 64 << 20, 1 << 20):
        files.array(0, offset, (1 << 20,), np.uint8).max()
    assert _resident_kib(tmp_path / "file") * 1024 < 2 * limit + (2 << 20)  # the system may map 2 MiB at once
    np.testing.assert_array_equal(first, np.arange(9))


def test_an_empty_file_can_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert MappedFiles([tmp_path / "file"]).array(0, 0, (0,), np.uint8).size == 0
