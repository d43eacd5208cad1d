"""When a finished model is this run's, and when it is another's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tinyunet.config import TrainConfig
from tinyunet.data.tfrecord import read_manifest
from tinyunet.errors import UserError
from tinyunet.runtime.distributed import World
from tinyunet.runtime.tracking import NullTracker
from tinyunet.training.checkpoint import Checkpoints
from tinyunet.training.job import Job
from tinyunet.training.loop import train

# As in the fixture `model`.
SAME = {"image_size": 64, "steps": 12, "global_batch": 8, "precision": "float32", "validate_every": 6}


def again(records: Path, out: Path, **changes: Any) -> dict[str, Any]:
    config = TrainConfig(**(SAME | changes))
    return train(Job(records, str(out), f"{out}.checkpoints", config, World(), "again"), NullTracker())


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
    monkeypatch.setattr("tinyunet.runtime.distributed._cpu_has", lambda *_: False)
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
        broken.setattr("tinyunet.training.artifact.write", full)
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
    assert done["identity"]["data"] == read_manifest(records)["digest"]
