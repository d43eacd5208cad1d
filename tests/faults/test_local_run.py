"""Faults at random moments of a local run with two ranks: the same command again makes the run whole."""

import os
import shutil
from pathlib import Path

import psutil
from hypothesis import strategies as st

from tests.faults.checks import repeated_too_much, state
from tests.faults.clock import Clock
from tests.faults.conftest import SOURCE, Undisturbed
from tests.faults.driver import SEED, Moment, Result, chosen, number_of_examples, try_all
from tests.faults.faults import OF_RANKS, possible
from tests.faults.runs import END_S, STEPS, TASKS, Example, disk
from tests.faults.servers import Servers

SECONDS = (2.0, 40.0)  # a fault that lasts ends after this time, or when the command has ended


@st.composite
def moments(draw: st.DrawFn) -> Moment:
    """A fault, the phase in which it comes, the fraction of it that is over, and its seconds.

    A phase is a task, the time before the first one, that of the ranks, or the steps of the training, whose
    fraction is one of steps and not of time.
    """
    fault = draw(st.sampled_from(chosen(possible())))
    phases = ("ranks", "steps") if fault in OF_RANKS else ("start", *TASKS, "ranks", "steps")
    task = draw(st.sampled_from(phases))
    return fault, task, draw(st.integers(0, 100)) / 100, draw(st.sampled_from(SECONDS))


def test_the_same_command_after_a_fault_ends_as_without_the_fault(
    running: Servers, undisturbed: Undisturbed, clock: Clock, python: str, root: Path
) -> None:
    def try_one(number: int, moment: Moment) -> Result:
        name, result = f"e{number}", Result(False, ["the example was not completed"])
        with disk(root / name, 400):
            example = Example(root / name, f"faults-{SEED}-{name}", running, python, SOURCE, clock)
            try:
                result = disturb(example, moment, undisturbed)
            finally:
                left = [f"left running: {text}" for text in example.left_running()]
                if result.problems or left:
                    keep(example)
        return Result(result.met, result.problems + left)

    try_all(moments(), len(chosen(possible())), number_of_examples(20), try_one)


def disturb(example: Example, moment: Moment, undisturbed: Undisturbed) -> Result:
    """Disturb a command, and give it again if it failed."""
    fault, task, fraction, seconds = moment
    problems: list[str] = []
    example.start()
    if task == "steps":
        example.wait_for_step(round(fraction * STEPS))
    elif example.wait_for(task, 1):
        example.wait(fraction * undisturbed.seconds[task])
    ran = example.running()
    with possible()[fault](example) as found:
        code = example.wait(seconds)
    code = example.wait() if code is None else code
    print(f"   victim {'met' if ran and found else 'NOT met'}, exit code {code}", flush=True)
    if code is None:
        problems.append("the disturbed command does not end")
        example.process and example.process.kill()
    if code != 0:
        example.start()
        if again := example.wait():
            problems.append(f"the same command again ends with {again}: {example.last_line()}")
            return Result(ran and found, problems)
    return Result(ran and found, problems + differences(example, undisturbed))


def differences(example: Example, undisturbed: Undisturbed) -> list[str]:
    """Return what a run has left that an undisturbed run has not, and the reverse."""
    psutil.wait_procs(example.members(), timeout=END_S)
    now = state(example)
    problems = [
        f"{key}: {now[key]}, not {value}" for key, value in undisturbed.state.items() if now[key] != value
    ]
    if "Traceback" in example.folder.with_suffix(".output").read_text():
        problems.append("a traceback is printed")
    return [*filter(None, [repeated_too_much(example)]), *problems]


def keep(example: Example) -> None:
    """Keep the logs of an example that failed, beside the working folder of the tests."""
    kept = Path(os.environ.get("FAULT_LOGS") or "runs/faults") / example.name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    shutil.copy(example.folder.with_suffix(".output"), kept / "output")
    for log in example.folder.glob("runs/2*/run.log"):
        shutil.copy(log, kept / f"{log.parent.name}.log")
