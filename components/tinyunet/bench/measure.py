"""How `tinyunet bench` takes and sums up a time; knows nothing of what is measured."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

PERCENTILES = (50, 90, 99)


class Key(NamedTuple):
    """Names a figure: group, case, and what was measured with its unit at the end (`images_per_s`)."""

    group: str
    case: str
    figure: str


Values = dict[Key, list[float]]
Case = Callable[[float], Values]
"""One measurement that takes at least the given seconds."""


def repeat(call: Callable[[], object], seconds: float) -> list[float]:
    """Call at least twice and at least for `seconds`; give the wall seconds of each call."""
    taken: list[float] = []
    start = time.perf_counter()
    while len(taken) < 2 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call()
        taken.append(time.perf_counter() - before)
    return taken


def spread(values: Sequence[float]) -> dict[str, float]:
    """Give median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Give the number of values and p50, p90 and p99: the smallest value that so many percent do not exceed.

    With fewer than 100 values p99 is the largest one.
    """
    ordered = sorted(values)
    found = {f"p{p}": ordered[math.ceil(p * len(ordered) / 100) - 1] for p in PERCENTILES}
    return {"count": len(ordered), **found}
