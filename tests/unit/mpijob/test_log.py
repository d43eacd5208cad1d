"""The end of a log: whether all of it was read."""

import threading
from collections.abc import Iterator
from typing import Any

from tinyunet.mpijob.log import LogFollower


class Cluster:
    """A cluster whose logs have one line, and then no end until `released`."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def log(self, pod: str, *, since_seconds: int | None = None) -> Iterator[tuple[str, str]]:
        yield "2026-01-01T00:00:20Z", "step 1/9"
        assert self.released.wait(60)


def test_a_log_is_complete_after_its_end_was_read_and_not_if_the_wait_for_it_was_too_long() -> None:
    cluster: Any = Cluster()
    follower = LogFollower(cluster, lambda _: None)
    follower.attach("launcher")
    follower.finish(0.01)
    assert not follower.complete
    cluster.released.set()
    follower.finish(60)
    assert follower.complete
    assert list(follower.tail) == ["step 1/9"]


def test_a_log_without_a_line_is_complete() -> None:
    cluster: Any = Cluster()
    cluster.log = lambda *_, **__: iter(())
    follower = LogFollower(cluster, lambda _: None)
    follower.attach("launcher")
    follower.finish(60)
    assert follower.complete
