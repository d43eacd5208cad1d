"""Names of the measurements with several ranks; tests/distributed measures real ranks."""

import pytest

from tinyunet.bench.ranks import case_name


def test_a_case_name_states_ranks_and_threads_per_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert [case_name(n) for n in (1, 2, 4)] == [
        "1 rank × 2 threads",
        "2 ranks × 1 thread",
        "4 ranks × 1 thread",
    ]
