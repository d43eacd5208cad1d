"""Checkpoints in a folder: which are kept, and what becomes of a bad one."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.training.checkpoint import Checkpoint, Checkpoints, checkpoint_precision

# The discard port: nothing listens.
AWAY = {"S3_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


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
    assert checkpoint_precision(f"{tmp_path}/kept/") == "float32"


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


def test_what_must_be_kept_is_not_given_up_where_the_store_is_away(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in AWAY.items():
        monkeypatch.setenv(name, value)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    away, state = Checkpoints("s3://bucket/kept", model, optimizer), Checkpoint(3, [], {}, "run")
    with pytest.raises(Unreachable, match="the endpoint does not answer"):
        away.save(state, must=True)
    assert capsys.readouterr().err == ""
    away.save(state, must=False)
    away.clear()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("tinyunet: warning: no checkpoint of step 3: s3://bucket/kept/step-00000003.npz")
    assert second.startswith(
        "tinyunet: warning: checkpoints are left: s3://bucket/kept at http://127.0.0.1:9"
    )


def test_the_state_of_many_variables_comes_back_in_their_order(tmp_path: Path) -> None:
    """More than ten, of one shape: nothing but their order tells them apart."""
    layers = [keras.layers.Dense(1, use_bias=False) for _ in range(12)]
    model = keras.Sequential([keras.Input((1,)), *layers])
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(str(tmp_path / "kept"), model, optimizer)
    expected = [np.full((1, 1), place, np.float32) for place in range(12)]
    model.set_weights(expected)
    checkpoints.save(Checkpoint(1, [], {}, "run"))
    model.set_weights(expected[::-1])
    checkpoints.restore(lambda _: None)
    np.testing.assert_array_equal(model.get_weights(), expected)


def test_the_state_of_the_optimizer_comes_back(model: keras.Model, tmp_path: Path) -> None:
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(str(tmp_path / "kept"), model, optimizer)
    optimizer.iterations.assign(7)
    checkpoints.save(Checkpoint(7, [], {}, "run"))
    optimizer.iterations.assign(0)
    checkpoints.restore(lambda _: None)
    assert int(optimizer.iterations) == 7


def test_one_of_another_version_is_named_and_changes_no_variable(model: keras.Model, tmp_path: Path) -> None:
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    plain = Checkpoints(str(tmp_path / "kept"), model, optimizer)
    other = keras.optimizers.Adam()
    other.build(model.trainable_variables)
    before = model.get_weights()
    Checkpoints(str(tmp_path / "kept"), model, other).save(Checkpoint(1, [], {}, "run"))
    model.set_weights([weight + 1 for weight in before])
    with pytest.raises(UserError, match=r"other variables than this version; delete .*kept to begin anew"):
        plain.restore(lambda _: None)
    np.testing.assert_array_equal(model.get_weights()[0], before[0] + 1)

    np.savez(tmp_path / "kept" / "step-00000002.npz", meta=np.array('{"step": 2, "colour": "red"}'))
    with pytest.raises(UserError, match=r"step-00000002\.npz is not a usable checkpoint .*colour"):
        plain.restore(lambda _: None)
