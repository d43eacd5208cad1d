"""Make things ahead of their use in a background thread."""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
_AHEAD = 2


def ahead(make: Callable[[S], T], steps: Iterable[S]) -> Iterator[T]:
    """Call `make` for every step in a thread, a few results ahead; its errors come out here.

    The thread starts at the first `next` and ends with the iterator, also when that is closed early.
    """
    results: queue.Queue[T | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()
    thread = threading.Thread(target=_fill, args=(results, make, steps, stopped), name="batches", daemon=True)
    thread.start()
    try:
        while (item := results.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _fill(
    results: "queue.Queue[T | BaseException | None]",
    make: Callable[[S], T],
    steps: Iterable[S],
    stopped: threading.Event,
) -> None:
    def put(item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                results.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    try:
        for step in steps:
            if stopped.is_set():
                return
            put(make(step))
        put(None)
    except BaseException as error:
        put(error)
