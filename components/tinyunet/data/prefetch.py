"""Computation of items in a background thread, before they are needed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
_QUEUE_LENGTH = 3  # number of results that are computed in advance


def prefetch(make: Callable[[S], T], steps: Iterable[S]) -> Iterator[T]:
    """Yield `make(step)` for every step; a background thread computes a few results in advance.

    `next` raises the exceptions of `make`. The thread starts at the first `next`. It ends when the iterator
    is exhausted or closed.
    """
    remaining = iter(steps)
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        queue = deque(pool.submit(make, step) for step in islice(remaining, _QUEUE_LENGTH))
        while queue:
            result = queue.popleft().result()
            queue.extend(pool.submit(make, step) for step in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
