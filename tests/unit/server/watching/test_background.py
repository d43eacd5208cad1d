"""Work in the background: its order, its limit, its errors and its end."""

import threading
import time

import pytest

from tinyunet.server.watching.background import Background

WAIT_S = 20.0


def test_items_are_handled_in_their_order_in_one_other_thread() -> None:
    seen: list[tuple[int, str]] = []
    work = Background[int](
        "work", lambda item: seen.append((item, threading.current_thread().name)), limit=100
    )
    assert all(work.put(item, 1) for item in range(20))
    assert work.wait(WAIT_S)
    assert seen == [(item, "work") for item in range(20)]
    work.close()


def test_items_beyond_the_limit_are_refused_until_others_are_done() -> None:
    begin, started = threading.Event(), threading.Event()

    def handle(item: str) -> None:
        started.set()
        assert begin.wait(WAIT_S)

    work = Background[str]("work", handle, limit=10)
    assert work.put("in progress", 10)
    assert started.wait(WAIT_S)
    assert work.put("larger than the limit, but alone", 50)
    assert not work.put("too much", 1)
    begin.set()
    assert work.wait(WAIT_S)
    assert work.put("again", 10)
    work.close()
    assert not work.put("after the end", 1)


def test_an_error_is_logged_once_and_again_after_a_success(caplog: pytest.LogCaptureFixture) -> None:
    def handle(item: int) -> None:
        if item:
            raise ValueError(f"no place for {item}\nat all")

    work = Background[int]("work", handle, limit=100)
    for item in (1, 2, 0, 3):
        work.put(item, 1)
    assert work.wait(WAIT_S)
    work.close()
    messages = [record.message for record in caplog.records]
    assert messages == [
        f"work: no place for {item} at all; requests are answered as before" for item in (1, 3)
    ]


def test_the_end_waits_for_the_items_but_not_for_long() -> None:
    done: list[int] = []
    work = Background[int]("work", done.append, limit=100)
    for item in range(5):
        work.put(item, 1)
    work.close()
    assert done == [0, 1, 2, 3, 4]
    hanging = Background[int]("hanging", lambda _: time.sleep(2), limit=100)
    hanging.put(1, 1)
    start = time.perf_counter()
    hanging.close(0.1)
    assert time.perf_counter() - start < 1.5
