"""Checkpoints in a folder: which are kept, and what becomes of a bad one."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest

from tinyunet.errors import UserError
from tinyunet.training.checkpoint import Checkpoint, Checkpoints, kept_precision


@pytest.fixture
def model() -> keras.Model:
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])


@pytest.fixture
def checkpoints(model: keras.Model, tmp_path: Path) -> Checkpoints:
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    return Checkpoints(str(tmp_path / "kept"), model, optimizer)


def save(checkpoints: Checkpoints, model: keras.Model, step: int) -> None:
    """Keep a state whose weights are all the number of its step."""
    model.set_weights([np.full_like(weight, step) for weight in model.get_weights()])
    checkpoints.save(Checkpoint(step, [{"step": step}], {"seed": 0}, "run", "float32"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A file system that takes no more of a file than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_newest_two_are_kept_and_the_newest_is_restored(
    checkpoints: Checkpoints, model: keras.Model, tmp_path: Path
) -> None:
    for step in (9, 10, 11):
        save(checkpoints, model, step)
    assert files(tmp_path / "kept") == ["step-00000010.npz", "step-00000011.npz"]
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    found = checkpoints.restore(lambda _: None)
    assert found == Checkpoint(11, [{"step": 11}], {"seed": 0}, "run", "float32")
    assert all((weight == 11).all() for weight in model.get_weights())
    assert kept_precision(f"{tmp_path}/kept/") == "float32"


def test_one_that_is_not_accepted_changes_no_variable(checkpoints: Checkpoints, model: keras.Model) -> None:
    def refuse(found: Checkpoint) -> None:
        raise UserError(f"step {found.step} is another training's")

    save(checkpoints, model, 1)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    with pytest.raises(UserError, match="step 1 is another training's"):
        checkpoints.restore(refuse)
    assert not any(weight.any() for weight in model.get_weights())


def test_one_that_cannot_be_written_whole_leaves_the_one_before(
    checkpoints: Checkpoints, model: keras.Model, tmp_path: Path
) -> None:
    save(checkpoints, model, 1)
    with largest_file(1000), pytest.raises(UserError, match="File too large while making"):
        save(checkpoints, model, 2)
    assert files(tmp_path / "kept") == ["step-00000001.npz"]


def test_a_damaged_one_is_named(checkpoints: Checkpoints, model: keras.Model, tmp_path: Path) -> None:
    save(checkpoints, model, 1)
    file = tmp_path / "kept" / "step-00000001.npz"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"step-00000001\.npz is not a usable checkpoint .*; delete it to"):
        checkpoints.restore(lambda _: None)


def test_clearing_leaves_the_files_of_others(
    checkpoints: Checkpoints, model: keras.Model, tmp_path: Path
) -> None:
    save(checkpoints, model, 1)
    (tmp_path / "kept" / "notes.txt").touch()
    checkpoints.clear()
    assert files(tmp_path / "kept") == ["notes.txt"]
    (tmp_path / "kept" / "notes.txt").unlink()
    checkpoints.clear()
    assert not (tmp_path / "kept").exists()
