"""Progress lines, and loops over threads."""

import time

import pytest

from tinyunet.core.console import INTERVAL_S, cores, one_line, parallel_map, track


def test_a_long_loop_prints_a_line_per_interval(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    items = []
    for item in track(range(8), "checking", total=8):
        items.append(item)
        clock[0] += INTERVAL_S / 2
    assert items == list(range(8))
    assert capsys.readouterr().err.splitlines() == [
        "checking: 2/8 images, 0.4 images/s, 15 s left",
        "checking: 4/8 images, 0.4 images/s, 10 s left",
        "checking: 6/8 images, 0.4 images/s, 5 s left",
        "checking: 8/8 images, 0.4 images/s, 0 s left",
    ]


def test_parallel_results_are_in_the_order_of_the_items() -> None:
    assert parallel_map(lambda item: item * item, range(100), "squaring") == [i * i for i in range(100)]


def test_the_first_exception_cancels_the_items_that_wait() -> None:
    called = []

    def fail_first(item: int) -> None:
        called.append(item)
        if not item:
            raise ValueError("item 0")
        time.sleep(0.01)

    with pytest.raises(ValueError, match="item 0"):
        parallel_map(fail_first, range(100 * cores()), "failing")
    assert len(called) < 50 * cores()


def test_a_line_shows_line_breaks_and_other_bytes_as_escapes() -> None:
    assert one_line("a\nb\tc\x1b[31m é") == "a\\nb\\tc\\x1b[31m é"
    assert one_line(b"\xff.png".decode("utf-8", "surrogateescape")) == "\\udcff.png"
