"""Progress of long loops: a bar on a terminal, a line every five seconds elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")
T = TypeVar("T")
INTERVAL_S = 5.0


def track(items: Iterable[T], description: str, *, total: int, unit: str = "images") -> Iterator[T]:
    """Pass items through and show on stderr how far the loop is.

    Args:
        items: What the loop runs over.
        description: What is being done, such as `checking`.
        total: Number of items.
        unit: What an item is.

    Yields:
        The items, unchanged.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(items, description, total, console=Console(stderr=True), transient=True)
    else:
        yield from _lines(items, description, total, unit)


def cores() -> int:
    """Give the number of cores that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0))


def parallel_map(function: Callable[[T], R], items: Sequence[T], description: str) -> list[R]:
    """Call `function` on every item in one thread per core, with progress; the first failure ends it all."""
    with ThreadPoolExecutor(cores()) as pool:
        try:
            return list(track(pool.map(function, items), description, total=len(items)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _lines(items: Iterable[T], description: str, total: int, unit: str) -> Iterator[T]:
    start = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= INTERVAL_S:
            shown, rate = now, done / (now - start)
            left = (total - done) / rate
            line = f"{description}: {done}/{total} {unit}, {rate:.1f} {unit}/s, {left:.0f} s left"
            print(line, file=sys.stderr, flush=True)


def say(message: str) -> None:
    """Tell the user one thing, on stderr."""
    print(message, file=sys.stderr, flush=True)
