"""Messages and the progress of long loops on stderr, and loops over threads."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

R = TypeVar("R")
T = TypeVar("T")
INTERVAL_S = 5.0


def say(message: str) -> None:
    """Print a message on stderr at once."""
    print(message, file=sys.stderr, flush=True)


def cores() -> int:
    """Return the number of CPU cores that this process may use; the machine may have more."""
    return len(os.sched_getaffinity(0))


def track(items: Iterable[T], description: str, *, total: int, unit: str = "images") -> Iterator[T]:
    """Yield items and show the progress on stderr: a bar on a terminal, a line every five seconds elsewhere.

    Args:
        items: The items of the loop.
        description: The work that is done, such as `checking`.
        total: Number of items.
        unit: Plural of the items' name.

    Yields:
        The items, unchanged.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(items, description, total, console=Console(stderr=True), transient=True)
    else:
        yield from _track_in_lines(items, description, total, unit)


def _track_in_lines(items: Iterable[T], description: str, total: int, unit: str) -> Iterator[T]:
    start = last_line = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last_line >= INTERVAL_S:
            last_line, rate = now, done / (now - start)
            remaining = (total - done) / rate
            say(f"{description}: {done}/{total} {unit}, {rate:.1f} {unit}/s, {remaining:.0f} s left")


def parallel_map(
    function: Callable[[T], R], items: Sequence[T], description: str, *, threads: int = 0
) -> list[R]:
    """Call `function` on every item in several threads, with progress on stderr.

    Args:
        function: What is called; it should release Python's global lock for most of its time.
        items: Its arguments.
        description: The work that is done, such as `checking`.
        threads: Number of threads; 0 is one per core.

    Returns:
        The results, in the order of the items.

    Raises:
        Exception: the first exception of `function`; items that have not been started are cancelled.
    """
    with ThreadPoolExecutor(threads or cores()) as pool:
        try:
            return list(track(pool.map(function, items), description, total=len(items)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def one_line(text: str) -> str:
    """Return text in which escapes stand for control characters and for bytes of a name that is not UTF-8."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
