"""The loop of both fault drivers: hypothesis draws moments; problems are reported after the last one."""

import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from hypothesis.strategies import SearchStrategy

SEED = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
# A fault, a task or a phase, the fraction of it that is over, and the seconds of the fault.
Moment = tuple[str, str, float, float]


@dataclass(frozen=True)
class Result:
    """What one example has shown.

    Attributes:
        met: Whether the fault met its victim in a command that still ran.
        problems: What does not hold, as sentences.
    """

    met: bool
    problems: list[str]


def number_of_examples(default: int) -> int:
    return int(os.environ.get("FAULTS") or default)


def chosen(faults: Iterable[str]) -> list[str]:
    """Return the faults of FAULT_NAMES, by default all, in the order of their names."""
    names = [name.strip() for name in os.environ.get("FAULT_NAMES", "").split(",") if name.strip()]
    unknown = set(names) - set(faults)
    assert not unknown, f"FAULT_NAMES has {sorted(unknown)}; the faults are {sorted(faults)}"
    return sorted(names or faults)


def try_all(
    moments: SearchStrategy[Moment], faults: int, number: int, try_one: Callable[[int, Moment], Result]
) -> None:
    """Try a number of drawn moments; fail if a property does not hold, or if most faults met nothing.

    Args:
        moments: Strategy of the moments.
        faults: Number of the faults. Each of them is tried before one is tried again.
        number: Number of the examples.
        try_one: Function of the number of an example, from 1, and its moment.
    """
    print(f"FAULTS={number} FAULT_SEED={SEED}", flush=True)
    results: list[Result] = []
    failures: list[str] = []
    tried: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=number, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(moments)
    def inject(moment: Moment) -> None:
        assume(moment[0] not in tried[len(tried) - len(tried) % faults :])
        tried.append(moment[0])
        began, count = time.monotonic(), len(results) + 1
        try:
            result = try_one(count, moment)
        except Exception as error:  # the other examples are tried, too
            result = Result(False, [f"{type(error).__name__}: {error}"])
        results.append(result)
        failures.extend(f"{count}. {moment}: {problem}" for problem in result.problems)
        verdict = result.problems or ("holds" if result.met else "holds, but the fault met nothing")
        print(f"{count}. {moment} ({time.monotonic() - began:.0f} s): {verdict}", flush=True)

    inject()
    met = sum(result.met for result in results)
    print(f"{met} of {len(results)} faults met their victim in a running command", flush=True)
    assert len(results) == number
    assert failures == [], "\n" + "\n".join(failures)
    assert 2 * met >= number, "most faults met nothing"
