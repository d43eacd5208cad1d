"""The training loop: resumption, signals, and trainings that do not fit the model folder."""

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
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError
from tinyunet.tracking.tracker import NullTracker
from tinyunet.training import model_folder
from tinyunet.training.checkpoint import Checkpoints
from tinyunet.training.distributed import World
from tinyunet.training.loop import train
from tinyunet.training.run import TrainingRun
from tinyunet.training.stopping import Stopped

pytestmark = pytest.mark.usefixtures("eager")
# The configuration of the fixture `model`.
SAME = {"image_size": 64, "steps": 12, "global_batch": 8, "precision": "float32", "validate_every": 6}


class RecordingTracker(NullTracker):
    """Records run keys and final statuses; with `stop` it sends SIGTERM after the first step."""

    def __init__(self, *, stop: bool = False) -> None:
        self.run_keys: list[str] = []
        self.statuses: list[str] = []
        self._stop = stop

    def start(self, run_name: str, **values: Any) -> str:
        self.run_keys.append(values["run_key"])
        return ""

    def log_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        if self._stop and "loss" in rows[0]:
            self._stop = False
            os.kill(os.getpid(), signal.SIGTERM)

    def finish(self, status: str) -> None:
        self.statuses.append(status)


def train_again(
    records: Path, out: Path, tracker: NullTracker | None = None, run_key: str = "again", **changes: Any
) -> ModelDocument:
    config = TrainConfig(**(SAME | changes))
    run = TrainingRun(records=str(records), out=str(out), config=config, run_key=run_key)
    return train(run, World(), tracker or NullTracker())


def test_a_finished_model_is_not_trained_again(
    model: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_again(records, model) == ModelDocument.read(model)
    assert "already holds this model (12 steps); nothing to do" in capsys.readouterr().out


def test_options_that_change_no_result_may_differ(model: Path, records: Path) -> None:
    assert train_again(records, model, checkpoint_every=5, validate_every=0, accumulate=4).steps == 12


def test_another_configuration_is_an_error(model: Path, records: Path) -> None:
    with pytest.raises(UserError, match=r"holds a training with seed=0, expected 1; choose another --out"):
        train_again(records, model, seed=1)


def test_a_model_that_is_older_than_an_option_had_the_default(
    model: Path, records: Path, tmp_path: Path
) -> None:
    older = tmp_path / "model"
    shutil.copytree(model, older)
    content = json.loads((older / "model.json").read_text())
    del content["identity"]["compression"]
    (older / "model.json").write_text(json.dumps(content))
    assert train_again(records, older).steps == 12
    with pytest.raises(UserError, match=r"holds a training with compression='none', expected 'fp16'"):
        train_again(records, older, compression="fp16")


def test_an_emulated_precision_is_reported(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tinyunet.training.progress.is_emulated", lambda _: True)
    train_again(records, tmp_path / "model", image_size=32, steps=1, precision="mixed_float16")
    assert "mixed_float16 (this CPU emulates it: slower than float32), " in capsys.readouterr().out


def test_a_resumed_training_keeps_the_precision_that_auto_selected_first(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise UserError("no space")

    def resume() -> ModelDocument:
        return train_again(records, tmp_path / "model", image_size=32, steps=2, precision="auto")

    monkeypatch.setattr("tinyunet.training.loop.resolve_precision", lambda _: "mixed_bfloat16")
    with monkeypatch.context() as broken:
        broken.setattr("tinyunet.training.model_folder.write_model", full)
        with pytest.raises(UserError, match="no space"):
            resume()
    monkeypatch.setattr("tinyunet.training.loop.resolve_precision", lambda _: "float32")
    assert resume().precision == "mixed_bfloat16"
    with pytest.raises(UserError, match=r"holds a training with precision='auto', expected 'float32'"):
        train_again(records, tmp_path / "model", image_size=32, steps=2, precision="float32")


def test_the_records_may_be_deleted_after_the_first_step(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "records"
    shutil.copytree(records, copy)
    save = Checkpoints.save

    def delete_and_save(self: Checkpoints, *state: Any, **options: Any) -> None:
        shutil.rmtree(copy, ignore_errors=True)
        save(self, *state, **options)

    monkeypatch.setattr(Checkpoints, "save", delete_and_save)
    document = train_again(copy, tmp_path / "model", image_size=32, steps=2, checkpoint_every=1)
    assert not copy.exists()
    assert document.identity["data"] == RecordsManifest.read(records).digest


def test_a_stopped_training_resumes_with_its_step_its_run_and_its_history(
    records: Path, tmp_path: Path
) -> None:
    """The request after step 1 reaches all ranks in step 2 and stops them after step 3.

    The resumed training gets its request after step 4. It would stop after step 6, the last one, so it ends
    as finished.
    """
    out, short = tmp_path / "model", {"image_size": 32, "steps": 6, "validate_every": 2}
    first, second = RecordingTracker(stop=True), RecordingTracker(stop=True)
    with pytest.raises(Stopped, match="stopped after step 3; the same command resumes") as stopped:
        train_again(records, out, first, "first", **short)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.glob("*.checkpoints/*")] == ["step-00000003.npz"]
    train_again(records, out, second, "second", **short)
    assert [*first.statuses, *second.statuses] == ["KILLED", "FINISHED"]
    assert [*first.run_keys, *second.run_keys] == ["first", "first"]
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert [int(row["step"]) for row in rows if row["validation_dice"]] == [2, 4, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_the_last_checkpoint_remains_if_the_training_keeps_it(records: Path, tmp_path: Path) -> None:
    config = TrainConfig(**(SAME | {"image_size": 32, "steps": 1}))
    out, checkpoints = str(tmp_path / "model"), tmp_path / "checkpoints"
    run = TrainingRun(
        records=str(records), out=out, config=config, checkpoints=str(checkpoints), keep_checkpoints=True
    )
    train(run, World(), NullTracker())
    assert [path.name for path in checkpoints.iterdir()] == ["step-00000001.npz"]


def test_a_loss_that_is_not_finite_is_an_error(records: Path, tmp_path: Path) -> None:
    tracker = RecordingTracker()
    with pytest.raises(UserError, match=r"loss is (nan|inf) at step \d; expected a finite number: lower"):
        train_again(records, tmp_path / "model", tracker, image_size=32, steps=4, learning_rate=1e30)
    assert tracker.statuses == ["FAILED"]
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("error", "status"), [(SystemExit, "KILLED"), (KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")]
)
def test_a_run_that_someone_ends_is_killed_and_not_failed(
    error: type[BaseException], status: str, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> None:
        raise error

    tracker = RecordingTracker()
    monkeypatch.setattr(tracker, "start", end)
    with pytest.raises(error):
        train_again(records, tmp_path / "model", tracker, image_size=32, steps=1)
    assert tracker.statuses == [status]


@pytest.mark.parametrize(
    ("checkpoints", "files"), [("", ["model.checkpoints.lock"]), ("s3://bucket/checkpoints", [])]
)
def test_a_folder_of_checkpoints_is_locked_and_a_location_on_s3_is_not(
    checkpoints: str, files: list[str], records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def finished_model(out: str) -> None:
        assert [path.name for path in tmp_path.rglob("*")] == files
        raise UserError("end of the test")

    monkeypatch.setattr(model_folder, "finished_model", finished_model)
    run = TrainingRun(records=str(records), out=str(tmp_path / "model"), checkpoints=checkpoints)
    with pytest.raises(UserError, match="end of the test"):
        train(run, World(), NullTracker())
    assert list(tmp_path.iterdir()) == []
