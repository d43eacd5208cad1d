"""A lease on a store in memory: what ends it, and what does not."""

import time
from collections.abc import Callable

import pytest

from tinyunet.core.errors import Unreachable
from tinyunet.storage import lease as module
from tinyunet.storage import s3
from tinyunet.storage.lease import ANSWERS, PARTS, LeaseWatch, renewed_lease

URI = "s3://bucket/model.checkpoints/lease"
SECONDS = 100.0


class Store:
    """One object, and switches that make the store unreachable, or refuse to write."""

    def __init__(self) -> None:
        self.content: bytes | None = b"first"
        self.down = self.read_only = False

    def exists(self, uri: str) -> bool:
        self._answer(uri)
        return self.content is not None

    def read(self, uri: str) -> bytes:
        self._answer(uri)
        assert self.content is not None
        return self.content

    def write(self, uri: str, data: bytes, read_s: float) -> None:
        self._answer(uri)
        if self.read_only:
            raise ValueError("an error of which nobody thought")
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
def look(store: Store) -> Callable[[int], bool]:
    """Looks at the lease some times, and returns whether it has expired."""
    watch = LeaseWatch(URI, SECONDS)

    def times(count: int) -> bool:
        for _ in range(count):
            try:
                watch._look()
            except (Unreachable, ValueError):
                assert store.down or store.read_only
        return watch.expired

    return times


def test_a_lease_expires_when_as_many_looks_as_its_time_has_found_the_same_content(
    look: Callable[[int], bool],
) -> None:
    assert [look(1), look(PARTS - 1), look(1)] == [False, False, True]


def test_a_renewal_starts_the_count_again_and_an_expired_lease_stays_expired(
    store: Store, look: Callable[[int], bool]
) -> None:
    look(PARTS)
    store.content = b"second"
    assert [look(1), look(PARTS - 1), look(1)] == [False, False, True]
    store.content = b"third"
    assert look(1), "all ranks have been told to stop"


def test_a_store_that_does_not_answer_does_not_end_the_training_and_the_launcher_may_renew_first(
    store: Store, look: Callable[[int], bool]
) -> None:
    look(PARTS)
    store.down = True
    assert not look(3 * PARTS)
    store.down = False
    assert [look(1), look(PARTS - 1)] == [False, False]
    store.content = b"second"
    assert [look(1), look(PARTS - 1), look(1)] == [False, False, True]


def test_a_store_that_can_be_read_but_not_written_does_not_end_the_training(
    store: Store, look: Callable[[int], bool]
) -> None:
    """Its disk may be full: the launcher cannot renew the lease either."""
    store.read_only = True
    assert not look(5 * PARTS)
    store.read_only = False
    assert look(2 * PARTS)


def test_a_launcher_that_is_late_answers_the_question(store: Store, look: Callable[[int], bool]) -> None:
    assert not look(PARTS - ANSWERS + 1)
    assert store.content is not None
    assert store.content.startswith(b"question of rank 0")
    store.content = b"answer"
    assert [look(1), look(PARTS - 1)] == [False, False]


def test_a_missing_lease_expires_like_one_that_is_not_renewed(
    store: Store, look: Callable[[int], bool]
) -> None:
    store.content = None
    assert [look(1), look(PARTS - 1), look(1)] == [False, False, True]


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
        store.read_only = True
        time.sleep(0.1)
        before, store.read_only = store.content, False
        deadline = time.monotonic() + 10
        while store.content == before and time.monotonic() < deadline:
            time.sleep(0.005)
        assert store.content != before
    assert (
        capsys.readouterr().err
        == "tinyunet: warning: lease-renewal: an error of which nobody thought; trying again\n"
    )


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
