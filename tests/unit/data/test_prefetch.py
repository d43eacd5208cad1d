import threading
import time
from collections.abc import Iterator

import pytest

from tinyunet.core.errors import UserError
from tinyunet.data.prefetch import prefetch


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def _wait_until_four_are_made(made: list[int]) -> None:
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)


def _count_to_100(made: list[int]) -> Iterator[int]:
    def make(step: int) -> int:
        made.append(step)
        return step

    return prefetch(make, range(100))


def test_three_results_are_computed_in_advance_and_closing_the_iterator_ends_the_thread() -> None:
    made: list[int] = []
    results = _count_to_100(made)
    assert _threads() == []
    assert next(results) == 0
    _wait_until_four_are_made(made)
    assert made == [0, 1, 2, 3]  # the first is used, and three more are computed in advance
    assert len(_threads()) == 1
    results.close()  # type: ignore[attr-defined]
    assert _threads() == []


def test_the_thread_ends_after_the_last_item() -> None:
    assert list(_count_to_100([])) == list(range(100))
    assert _threads() == []


def test_an_exception_in_the_thread_is_raised_after_the_results_before_it() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise UserError("step 2 is bad")
        return step

    results = prefetch(make, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(UserError, match="step 2 is bad"):
        next(results)
    assert _threads() == []


def test_several_threads_work_at_the_same_time_and_the_order_is_that_of_the_steps() -> None:
    both = threading.Barrier(2, timeout=10)

    def make(step: int) -> int:
        if step < 2:
            both.wait()  # an error if only one thread works
        time.sleep(0.02 / (step + 1))
        return step

    assert list(prefetch(make, range(8), threads=2)) == list(range(8))
