"""Work that no request waits for: a thread with a queue that never grows beyond its limit."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

LOG = logging.getLogger("tinyunet.server")
CLOSE_S = 5.0
T = TypeVar("T")


class Background(Generic[T]):
    """A thread that calls a function on one item after the other.

    Args:
        name: Name of the thread.
        handle: The function. An error of it is logged once, until a call succeeds again.
        limit: Largest sum of the sizes of the items that wait; one item may always wait.
    """

    def __init__(self, name: str, handle: Callable[[T], None], *, limit: int) -> None:
        self._name, self._handle, self._limit = name, handle, limit
        self._items = deque[tuple[T, int]]()
        self._size, self._closed, self._busy, self._failing = 0, False, False, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T, size: int) -> bool:
        """Add an item; return False if the queue is full or closed, so that the item is dropped."""
        with self._changed:
            if self._closed or (self._items and self._size + size > self._limit):
                return False
            self._items.append((item, size))
            self._size += size
            self._changed.notify_all()
            return True

    def wait(self, seconds: float) -> bool:
        """Wait until all items are done; return False if that takes longer."""
        end = monotonic() + seconds
        with self._changed:
            while self._items or self._busy:
                if not self._changed.wait(max(end - monotonic(), 0)) and monotonic() >= end:
                    return False
        return True

    def close(self, seconds: float = CLOSE_S) -> None:
        """Take no more items, and wait for those in the queue, at most so long; the rest is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(seconds)
        with self._changed:
            self._items.clear()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._items or self._closed)
                if not self._items:
                    return
                item, size = self._items.popleft()
                self._size, self._busy = self._size - size, True
            self._call(item)

    def _call(self, item: T) -> None:
        try:
            self._handle(item)
            self._failing = False
        except Exception as error:  # the thread must live on
            if not self._failing:
                LOG.warning(
                    "%s: %s; requests are answered as before", self._name, " ".join(str(error).split())
                )
            self._failing = True
