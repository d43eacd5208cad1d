"""Make things ahead of their use in a background thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
_AHEAD = 3


def prefetch(make: Callable[[S], T], steps: Iterable[S]) -> Iterator[T]:
    """Call `make` for every step in a thread, a few results ahead; its errors come out here.

    The thread starts at the first `next` and ends with the iterator, also when that is closed early.
    """
    left = iter(steps)
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        coming = deque(pool.submit(make, step) for step in islice(left, _AHEAD))
        while coming:
            made = coming.popleft().result()
            coming.extend(pool.submit(make, step) for step in islice(left, 1))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)
