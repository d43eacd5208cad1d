"""Checkpoints of pipeline runs on this machine: where they are, and when they are deleted."""

from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST
from tinyunet.launch.local_checkpoints import checkpoint_folder, delete_checkpoints
from tinyunet.training.model_folder import read_model


def test_options_that_change_no_result_do_not_change_the_folder() -> None:
    folder = checkpoint_folder(FAST, "a" * 64)
    assert folder.name.endswith("-aaaaaaaaaaaa")
    assert checkpoint_folder(FAST.replace({"checkpoint_every": 7, "accumulate": 2}), "a" * 64) == folder
    assert checkpoint_folder(FAST.replace({"seed": 1}), "a" * 64) != folder
    assert checkpoint_folder(FAST, "b" * 64) != folder


def test_the_checkpoints_of_a_model_are_deleted_and_no_others(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    document = read_model(model)
    own, other = (checkpoint_folder(document.train, digest) for digest in (document.data.digest, "0" * 64))
    for folder in (own, other):
        folder.mkdir(parents=True)
        (folder / "step-00000001.npz").touch()
    delete_checkpoints(model)
    delete_checkpoints(model)
    assert list((tmp_path / "runs" / "checkpoints").iterdir()) == [other]


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no model\.json"):
        delete_checkpoints(tmp_path)
