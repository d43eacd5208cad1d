"""Computation of items in background threads, before they are needed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
_QUEUE_LENGTH = 3  # number of results that one thread computes in advance


def prefetch(make: Callable[[S], T], steps: Iterable[S], *, threads: int = 1) -> Iterator[T]:
    """Yield `make(step)` for every step, in order; background threads compute a few results in advance.

    `next` raises the exceptions of `make`. The threads start at the first `next`. They end when the iterator
    is exhausted or closed.

    Args:
        make: What is called; several threads may call it at the same time.
        steps: Its arguments.
        threads: Number of threads. Three results are computed in advance, or one more than there are threads.
    """
    remaining = iter(steps)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="batches")
    try:
        queue = deque(pool.submit(make, step) for step in islice(remaining, max(_QUEUE_LENGTH, threads + 1)))
        while queue:
            result = queue.popleft().result()
            queue.extend(pool.submit(make, step) for step in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
