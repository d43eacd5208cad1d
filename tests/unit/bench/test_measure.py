"""Timing and summaries with numbers computed by hand."""

from tinyunet.bench.measure import percentiles, repeat


def test_percentiles_are_values_of_the_sample() -> None:
    values = [float(v) for v in range(200, 0, -1)]
    assert percentiles(values) == {"count": 200, "p50": 100.0, "p90": 180.0, "p99": 198.0}
    assert percentiles([3.0, 1.0]) == {"count": 2, "p50": 1.0, "p90": 3.0, "p99": 3.0}


def test_repeat_makes_at_least_two_calls() -> None:
    calls: list[int] = []
    assert len(repeat(lambda: calls.append(1), 0.0)) == len(calls) == 2
