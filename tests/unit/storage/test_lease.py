"""A lease on a store in memory: what ends it, and what does not."""

import time
from collections.abc import Callable, Iterator

import pytest

from tinyunet.core.errors import Unreachable
from tinyunet.storage import lease as module
from tinyunet.storage import s3
from tinyunet.storage.lease import PARTS, LeaseWatch, renewed_lease

URI = "s3://bucket/model.checkpoints/lease"
SECONDS = 100.0


class Store:
    """One object, and a switch that makes the store unreachable."""

    def __init__(self) -> None:
        self.content: bytes | None = b"first"
        self.down = False

    def exists(self, uri: str) -> bool:
        self._answer(uri)
        return self.content is not None

    def read(self, uri: str) -> bytes:
        self._answer(uri)
        assert self.content is not None
        return self.content

    def write(self, uri: str, data: bytes) -> None:
        self._answer(uri)
        self.content = data

    def _answer(self, uri: str) -> None:
        assert uri == URI
        if self.down:
            raise Unreachable("no answer")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    store = Store()
    monkeypatch.setattr(s3, "exists", store.exists)
    monkeypatch.setattr(s3, "read_bytes", store.read)
    monkeypatch.setattr(s3, "write_bytes", store.write)
    return store


@pytest.fixture
def look(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], bool]]:
    """Looks at the lease after some seconds, and returns whether it has expired."""
    now = [1000.0]
    watch = LeaseWatch(URI, SECONDS)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def after(seconds: float) -> bool:
        now[0] += seconds
        try:
            watch._look()
        except Unreachable:
            assert store.down
        return watch.expired

    yield after
    monkeypatch.undo()


def test_a_lease_expires_when_its_content_stays_the_same_for_longer_than_its_time(
    look: Callable[[float], bool],
) -> None:
    assert [look(0), look(60), look(40), look(1)] == [False, False, False, True]


def test_a_renewal_starts_the_time_again_and_an_expired_lease_stays_expired(
    store: Store, look: Callable[[float], bool]
) -> None:
    look(0)
    look(90)
    store.content = b"second"
    assert [look(5), look(100)] == [False, False]
    assert look(1)
    store.content = b"third"
    assert look(1), "all ranks have been told to stop"


def test_a_store_that_does_not_answer_does_not_end_the_training_and_the_launcher_may_renew_first(
    store: Store, look: Callable[[float], bool]
) -> None:
    look(0)
    store.down = True
    assert [look(60) for _ in range(10)] == [False] * 10
    store.down = False
    assert [look(1), look(99)] == [False, False]
    store.content = b"second"
    assert [look(1), look(100), look(1)] == [False, False, True]


def test_a_missing_lease_expires_like_one_that_is_not_renewed(
    store: Store, look: Callable[[float], bool]
) -> None:
    store.content = None
    assert [look(0), look(100), look(1)] == [False, False, True]


def test_a_lease_is_written_first_and_then_renewed_until_the_end_of_the_block(store: Store) -> None:
    seen: set[bytes | None] = set()
    seconds = 0.02 * PARTS
    with renewed_lease(URI, seconds):
        assert store.content != b"first", "written before the job exists"
        deadline = time.monotonic() + 10
        while len(seen) < 4 and time.monotonic() < deadline:
            seen.add(store.content)
            time.sleep(0.005)
    assert len(seen) >= 4
    last = store.content
    time.sleep(3 * seconds / PARTS)
    assert store.content == last, "not deleted: the job may outlive its launcher"


def test_a_renewal_that_fails_is_repeated_and_reported_once(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with renewed_lease(URI, 0.01 * PARTS):
        store.down = True
        time.sleep(0.1)
        before, store.down = store.content, False
        deadline = time.monotonic() + 10
        while store.content == before and time.monotonic() < deadline:
            time.sleep(0.005)
        assert store.content != before
    assert capsys.readouterr().err == "tinyunet: warning: lease-renewal: no answer; trying again\n"


def test_an_end_of_the_lease_is_seen_while_the_training_runs(store: Store) -> None:
    with LeaseWatch(URI, 0.02) as watch:
        deadline = time.monotonic() + 10
        while not watch.expired and time.monotonic() < deadline:
            time.sleep(0.002)
        assert watch.expired


def test_the_first_lease_must_be_written(store: Store) -> None:
    store.down = True
    with pytest.raises(Unreachable), renewed_lease(URI, SECONDS):
        pytest.fail("a job without a lease would not be ended by anybody")
    assert module.PARTS >= 3, "one lost renewal must not end a job"
