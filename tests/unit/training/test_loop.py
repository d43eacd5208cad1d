"""When a finished model is this run's, and when it is another's."""

import csv
import json
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.tracking.tracker import NullTracker
from tinyunet.training.checkpoint import Checkpoints
from tinyunet.training.distributed import World
from tinyunet.training.loop import train
from tinyunet.training.run import Job
from tinyunet.training.stopping import Stopped

# As in the fixture `model`.
SAME = {"image_size": 64, "steps": 12, "global_batch": 8, "precision": "float32", "validate_every": 6}


class Diary(NullTracker):
    """A tracker that notes under which key a training begins and how it ends; it may ask it to stop."""

    def __init__(self, *, stop: bool = False) -> None:
        self.keys: list[str] = []
        self.ends: list[str] = []
        self._stop = stop

    def start(self, run_name: str, **known: Any) -> str:
        self.keys.append(known["run_key"])
        return ""

    def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        if self._stop and "loss" in rows[0]:
            self._stop = False
            os.kill(os.getpid(), signal.SIGTERM)

    def finish(self, status: str) -> None:
        self.ends.append(status)


def again(
    records: Path, out: Path, tracker: NullTracker | None = None, key: str = "again", **changes: Any
) -> dict[str, Any]:
    config = TrainConfig(**(SAME | changes))
    job = Job(records, str(out), f"{out}.checkpoints", config, World(), key)
    return train(job, tracker or NullTracker())


def test_a_finished_model_is_not_trained_again(
    model: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again(records, model)["steps"] == 12
    assert "already holds this model (12 steps); nothing to do" in capsys.readouterr().out


def test_what_changes_no_step_may_differ(model: Path, records: Path) -> None:
    assert again(records, model, checkpoint_every=5, validate_every=0, accumulate=4)["steps"] == 12


def test_another_configuration_is_refused(model: Path, records: Path) -> None:
    with pytest.raises(UserError, match=r"holds a training with seed=0, expected 1; choose another --out"):
        again(records, model, seed=1)


def test_a_key_younger_than_the_model_was_at_its_default(model: Path, records: Path, tmp_path: Path) -> None:
    older = tmp_path / "model"
    shutil.copytree(model, older)
    content = json.loads((older / "model.json").read_text())
    del content["identity"]["compression"]
    (older / "model.json").write_text(json.dumps(content))
    assert again(records, older)["steps"] == 12
    with pytest.raises(UserError, match=r"holds a training with compression='none', expected 'fp16'"):
        again(records, older, compression="fp16")


def test_an_emulated_precision_is_said(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tinyunet.training.distributed._cpu_has", lambda *_: False)
    again(records, tmp_path / "model", image_size=32, steps=1, precision="mixed_float16")
    assert "mixed_float16 (this CPU emulates it: slower than float32), " in capsys.readouterr().out


def test_a_training_goes_on_in_the_precision_that_auto_was_at_its_start(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise UserError("no space")

    def go_on() -> dict[str, Any]:
        return again(records, tmp_path / "model", image_size=32, steps=2, precision="auto")

    monkeypatch.setattr("tinyunet.training.loop.resolve_precision", lambda _: "mixed_bfloat16")
    with monkeypatch.context() as broken:
        broken.setattr("tinyunet.training.model_folder.write", full)
        with pytest.raises(UserError, match="no space"):
            go_on()
    monkeypatch.setattr("tinyunet.training.loop.resolve_precision", lambda _: "float32")
    assert go_on()["precision"] == "mixed_bfloat16"
    with pytest.raises(UserError, match=r"holds a training with precision='auto', expected 'float32'"):
        again(records, tmp_path / "model", image_size=32, steps=2, precision="float32")


def test_the_records_are_not_needed_once_they_are_read(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "records"
    shutil.copytree(records, copy)
    save = Checkpoints.save

    def save_without(self: Checkpoints, *state: Any, **how: Any) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        save(self, *state, **how)

    monkeypatch.setattr(Checkpoints, "save", save_without)
    done = again(copy, tmp_path / "model", image_size=32, steps=2, checkpoint_every=1)
    assert not copy.exists()
    assert done["identity"]["data"] == RecordsManifest.read(records)["digest"]


def test_a_stopped_training_keeps_its_step_its_run_and_its_history_and_one_at_its_end_is_finished(
    records: Path, tmp_path: Path
) -> None:
    """Asked after step 1, told to all ranks with step 2, it ends after step 3; asked after 4, after 6."""
    out, short = tmp_path / "model", {"image_size": 32, "steps": 6, "validate_every": 2}
    first, second = Diary(stop=True), Diary(stop=True)
    with pytest.raises(Stopped, match="stopped after step 3; the same command resumes") as stopped:
        again(records, out, first, "first", **short)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.glob("*.checkpoints/*")] == ["step-00000003.npz"]
    again(records, out, second, "second", **short)
    assert [*first.ends, *second.ends] == ["KILLED", "FINISHED"]
    assert [*first.keys, *second.keys] == ["first", "first"]
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [int(row["step"]) for row in rows if row["validation_dice"]] == [2, 4, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_loss_that_is_no_number_ends_the_training(records: Path, tmp_path: Path) -> None:
    diary = Diary()
    with pytest.raises(UserError, match=r"loss is (nan|inf) at step \d; expected a finite number: lower"):
        again(records, tmp_path / "model", diary, image_size=32, steps=4, learning_rate=1e30)
    assert diary.ends == ["FAILED"]
    assert not (tmp_path / "model").exists()
