"""A pytest plugin that prints what the suites cost: `python -m pytest -p tests.costs …`.

The cost of a test is the CPU time of pytest and of all its descendants, running or ended, while the test ran,
and the number of processes that it started itself. A session fixture counts for the first test that uses it,
and so does an import.
"""

import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

COSTLIEST = 15


class Cost(NamedTuple):
    """CPU seconds, and the number of processes."""

    seconds: float
    processes: int


class Meter:
    """What this process and its descendants have cost, without the cost of measuring it."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        self._processes = 0
        sys.addaudithook(self._count)
        self._last = self._others() + time.process_time()

    def record(self, name: str) -> None:
        """Record the cost since the last call under this name."""
        own, others = time.process_time(), self._others()
        self.costs[name] = Cost(own + others - self._last, self._processes)
        self._processes, self._last = 0, others + time.process_time()

    def _count(self, event: str, _: tuple[object, ...]) -> None:
        self._processes += event == "subprocess.Popen"

    def _others(self) -> float:
        this = psutil.Process()
        seconds = sum(this.cpu_times()[2:4])  # of children that have ended
        for process in this.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                seconds += sum(process.cpu_times()[:4])
        return seconds


_METER = pytest.StashKey[Meter]()


def pytest_configure(config: pytest.Config) -> None:
    """Start to measure."""
    config.stash[_METER] = Meter()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Record what the tests import."""
    session.config.stash[_METER].record("imports")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Record the cost of a test."""
    result = yield
    item.config.stash[_METER].record(item.nodeid)
    return result


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the cost and the number of tests of each folder, and the costliest tests."""
    costs, folders = config.stash[_METER].costs, defaultdict[str, list[Cost]](list)
    for name, cost in costs.items():
        folders[str(Path(name.partition("::")[0]).parent)].append(cost)
    terminalreporter.section("CPU seconds, processes, tests")
    for folder, each in [*sorted(folders.items()), ("total", list(costs.values()))]:
        seconds, processes = map(sum, zip(*each, strict=True))
        terminalreporter.line(f"{seconds:8.1f} {processes:5d} {len(each):5d}  {folder}")
    terminalreporter.section("CPU seconds of the costliest tests")
    for name, cost in sorted(costs.items(), key=lambda pair: -pair[1].seconds)[:COSTLIEST]:
        terminalreporter.line(f"{cost.seconds:8.1f}  {name}")
