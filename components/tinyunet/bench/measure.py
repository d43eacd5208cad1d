"""Timing and summary functions of `tinyunet bench`; they do not depend on what is measured."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

PERCENTILES = (50, 90, 99)


class Key(NamedTuple):
    """Identifies the values of one quantity.

    Attributes:
        group: Group of measurements, such as `train`.
        case: Name of the measurement, such as `train float32`.
        figure: The quantity with its unit as a suffix, such as `images_per_s`.
    """

    group: str
    case: str
    figure: str


Values = dict[Key, list[float]]
Case = Callable[[float], Values]
"""A measurement that runs for at least the given number of seconds."""


def repeat(call: Callable[[], object], seconds: float) -> list[float]:
    """Call a function at least twice and for at least `seconds`; return the wall seconds of each call."""
    durations: list[float] = []
    start = time.perf_counter()
    while len(durations) < 2 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call()
        durations.append(time.perf_counter() - before)
    return durations


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the minimum and the maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the number of values and their 50th, 90th and 99th percentiles.

    The p-th percentile is the smallest value for which at least p percent of the values are not larger.
    With fewer than 100 values the 99th percentile is the largest value.
    """
    ordered = sorted(values)
    ranked = {f"p{p}": ordered[math.ceil(p * len(ordered) / 100) - 1] for p in PERCENTILES}
    return {"count": len(ordered), **ranked}
