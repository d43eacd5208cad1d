"""Processes that measure: the reason for a missing measurement, failures and interrupts."""

import sys
from typing import Any

import pytest

from tinyunet.bench.children import ranks_unavailable_reason, run_program
from tinyunet.core.errors import UserError


@pytest.mark.parametrize(
    ("ranks", "mpirun", "reason"), [(1, "/usr/bin/mpirun", "--ranks 1"), (2, None, "mpirun is not installed")]
)
def test_the_reason_why_ranks_cannot_be_measured_is_named(
    ranks: int, mpirun: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: mpirun)
    assert reason in ranks_unavailable_reason(ranks)


def test_a_failing_process_is_reported_with_its_last_line() -> None:
    with pytest.raises(UserError, match=r"ended with exit code 3: no such luck; "):
        run_program([sys.executable, "-c", "import sys; print('no such luck', file=sys.stderr); sys.exit(3)"])


def test_an_interrupt_terminates_the_measuring_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def interrupted(process: Any) -> tuple[str, str]:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen.communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_program([sys.executable, "-c", "import time; time.sleep(600)"])
    assert started[0].returncode is not None
