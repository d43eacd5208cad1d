"""One rank: what it passes to the training, and its exit code."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.stopping import STOP_SIGNAL
from tinyunet.launch.rank import run_rank
from tinyunet.training.distributed import World
from tinyunet.training.run import TrainingRun
from tinyunet.training.stopping import Stopped


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Record the calls of `train`; the process is the only rank."""
    recorded: list[tuple[Any, ...]] = []
    monkeypatch.setattr("tinyunet.launch.rank.init", lambda *, deterministic: World())
    monkeypatch.setattr("tinyunet.training.loop.train", lambda *arguments: recorded.append(arguments))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return recorded


def test_a_rank_trains_on_local_records(
    calls: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    source = "synthetic://?train=24&test=4&size=64"
    assert run_rank(TrainingRun(records=source, out="model", run_key="key")) == 0
    ((_, world, _, local),) = calls
    assert local.folder == tmp_path / "tinyunet-key-records"
    assert world == World()
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_rank_prints_the_step_and_returns_the_exit_code_of_the_signal(
    calls: list[tuple[Any, ...]],
    records: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object) -> None:
        raise Stopped(7, 128 + signal.SIGTERM)

    monkeypatch.setattr("tinyunet.training.loop.train", stop)
    assert run_rank(TrainingRun(records=str(records), out="model")) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "tinyunet: stopped after step 7; the same command resumes\n"


def test_a_world_size_that_does_not_divide_the_batch_is_an_error(
    calls: list[tuple[Any, ...]], records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyunet.launch.rank.init", lambda *, deterministic: World(size=3))
    with pytest.raises(UserError, match="ranks is 3; expected a divisor of the global batch 16"):
        run_rank(TrainingRun(records=str(records), out="model"))
    assert calls == []


def test_the_stop_signal_interrupts_a_rank_before_its_first_step(
    calls: list[tuple[Any, ...]], records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    run_rank(TrainingRun(records=str(records), out="model"))
    assert handlers == {STOP_SIGNAL: signal.default_int_handler}
