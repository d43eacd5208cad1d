"""Preparation of items in a background thread before they are needed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
_PREPARED = 3  # results that wait for their use


def prefetch(make: Callable[[S], T], steps: Iterable[S]) -> Iterator[T]:
    """Yield `make(step)` for every step; a background thread computes a few results in advance.

    An error of `make` is raised here. The thread starts at the first `next`. It ends with the iterator, also
    when the iterator is closed early.
    """
    left = iter(steps)
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        coming = deque(pool.submit(make, step) for step in islice(left, _PREPARED))
        while coming:
            made = coming.popleft().result()
            coming.extend(pool.submit(make, step) for step in islice(left, 1))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)
