"""Faults at random moments of a local run with two ranks: the same command again makes the run whole."""

import os
import random
import shutil
import time
from pathlib import Path

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.faults.checks import repeated_too_much, state
from tests.faults.conftest import SOURCE, Undisturbed, number_of_examples
from tests.faults.faults import OF_RANKS, possible
from tests.faults.runs import END_S, TASKS, Example, disk
from tests.faults.servers import Servers

EXAMPLES = number_of_examples()
SEED = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1_000_000))
SERVERS_S = (2.0, 40.0)  # a server or a connection comes back after this time, or when the command has ended
Moment = tuple[str, str, float, float]


@st.composite
def moments(draw: st.DrawFn) -> Moment:
    """A fault, the task in which it comes, the fraction of that task that is over, and its seconds."""
    fault = draw(st.sampled_from(sorted(possible())))
    task = "ranks" if fault in OF_RANKS else draw(st.sampled_from(("start", *TASKS, "ranks")))
    return fault, task, draw(st.integers(0, 100)) / 100, draw(st.sampled_from(SERVERS_S))


def test_the_same_command_after_a_fault_ends_as_without_the_fault(
    running: Servers, undisturbed: Undisturbed, python: str, root: Path
) -> None:
    print(f"FAULTS={EXAMPLES} FAULT_SEED={SEED}", flush=True)
    failures: list[str] = []
    done: list[Moment] = []

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(moments())
    def inject(moment: Moment) -> None:
        done.append(moment)
        began, name = time.monotonic(), f"e{len(done)}"
        with disk(root / name, 400):
            example = Example(root / name, f"faults-{SEED}-{name}", running, python, SOURCE)
            try:
                problems = try_one(example, moment, undisturbed)
            except Exception as error:  # the other examples are tried, too
                problems = [f"{type(error).__name__}: {error}"]
            problems += [f"left running: {text}" for text in example.left_running()]
            spent = time.monotonic() - began
            print(f"{len(done)}. {moment} ({spent:.0f} s): {problems or 'holds'}", flush=True)
            if problems:
                keep(example)
        failures.extend(f"{moment}: {problem}" for problem in problems)

    inject()
    assert len(done) == EXAMPLES
    assert failures == [], "\n" + "\n".join(failures)


def try_one(example: Example, moment: Moment, undisturbed: Undisturbed) -> list[str]:
    """Disturb a command, give it again, and return what does not hold."""
    fault, task, fraction, seconds = moment
    problems: list[str] = []
    example.start()
    if example.wait_for(task, 1):
        example.wait(fraction * undisturbed.seconds[task])
    with possible()[fault](example) as found:
        code = example.wait(seconds)
    code = example.wait() if code is None else code
    print(f"   victim {'found' if found else 'NOT found'}, exit code {code}", flush=True)
    if code is None:
        problems.append("the disturbed command does not end")
        example.process and example.process.kill()
    if code != 0:
        example.start()
        if again := example.wait():
            return [*problems, f"the same command again ends with {again}: {example.last_line()}"]
    psutil.wait_procs(example.members(), timeout=END_S)
    problems += filter(None, [repeated_too_much(example)])
    now = state(example)
    problems += [
        f"{key}: {now[key]}, not {value}" for key, value in undisturbed.state.items() if now[key] != value
    ]
    if "Traceback" in example.folder.with_suffix(".output").read_text():
        problems.append("a traceback is printed")
    return problems


def keep(example: Example) -> None:
    """Keep the logs of an example that failed, beside the working folder of the tests."""
    kept = Path(os.environ.get("FAULT_LOGS") or "runs/faults") / example.name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    shutil.copy(example.folder.with_suffix(".output"), kept / "output")
    for log in example.folder.glob("runs/2*/run.log"):
        shutil.copy(log, kept / f"{log.parent.name}.log")
