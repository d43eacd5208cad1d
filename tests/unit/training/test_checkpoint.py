"""Checkpoints in a folder: which files remain, what is restored, and errors of damaged files."""

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pytest

from tinyunet.core.documents.checkpoint import CheckpointState
from tinyunet.core.errors import Unreachable, UserError
from tinyunet.training.checkpoint import Checkpoints, checkpoint_precision

# Port 9 is the discard port: no server listens.
UNREACHABLE = {
    "S3_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
}


def state(step: int) -> CheckpointState:
    return CheckpointState(
        step=step, history=({"step": step},), identity={"seed": 0}, run_key="run", precision="float32"
    )


@pytest.fixture
def model() -> keras.Model:
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def checkpoints(model: keras.Model, folder: Path) -> Checkpoints:
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    return Checkpoints(str(folder), model, optimizer)


def save(checkpoints: Checkpoints, model: keras.Model, step: int) -> None:
    """Save a checkpoint in which every weight equals the step."""
    model.set_weights([np.full_like(weight, step) for weight in model.get_weights()])
    checkpoints.save(state(step))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Limit the size of every file that this process writes, in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_newest_two_remain_and_the_newest_is_restored(
    checkpoints: Checkpoints, model: keras.Model, folder: Path
) -> None:
    for step in (9, 10, 11):
        save(checkpoints, model, step)
    assert files(folder) == ["step-00000010.npz", "step-00000011.npz"]
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    assert checkpoints.restore(lambda _: None) == state(11)
    assert all((weight == 11).all() for weight in model.get_weights())
    assert checkpoint_precision(f"{folder}/") == "float32"


def test_without_a_checkpoint_nothing_is_restored(checkpoints: Checkpoints, folder: Path) -> None:
    assert checkpoints.restore(lambda _: None) is None
    assert checkpoint_precision(str(folder)) == ""


def test_a_checkpoint_that_fails_the_check_changes_no_variable(
    checkpoints: Checkpoints, model: keras.Model
) -> None:
    def refuse(found: CheckpointState) -> None:
        raise UserError(f"step {found.step} is another training's")

    save(checkpoints, model, 1)
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    with pytest.raises(UserError, match="step 1 is another training's"):
        checkpoints.restore(refuse)
    assert not any(weight.any() for weight in model.get_weights())


def test_a_checkpoint_that_cannot_be_written_leaves_the_previous_one(
    checkpoints: Checkpoints, model: keras.Model, folder: Path
) -> None:
    save(checkpoints, model, 1)
    with file_size_limit(1000), pytest.raises(UserError, match="File too large while writing"):
        save(checkpoints, model, 2)
    assert files(folder) == ["step-00000001.npz"]


def test_the_error_of_a_damaged_checkpoint_names_the_file(
    checkpoints: Checkpoints, model: keras.Model, folder: Path
) -> None:
    save(checkpoints, model, 1)
    file = folder / "step-00000001.npz"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"step-00000001\.npz is not a usable checkpoint .*; delete it to"):
        checkpoints.restore(lambda _: None)


def test_clear_leaves_other_files(checkpoints: Checkpoints, model: keras.Model, folder: Path) -> None:
    save(checkpoints, model, 1)
    (folder / "notes.txt").touch()
    checkpoints.clear()
    assert files(folder) == ["notes.txt"]
    (folder / "notes.txt").unlink()
    checkpoints.clear()
    assert not folder.exists()


def test_an_unreachable_store_is_an_error_only_for_a_required_checkpoint(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    remote = Checkpoints("s3://bucket/checkpoints", model, optimizer)
    with pytest.raises(Unreachable, match="the endpoint does not answer"):
        remote.save(state(3), required=True)
    assert capsys.readouterr().err == ""
    remote.save(state(3), required=False)
    remote.clear()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "tinyunet: warning: no checkpoint of step 3: s3://bucket/checkpoints/step-00000003.npz"
    )
    assert second.startswith(
        "tinyunet: warning: checkpoints were not deleted: s3://bucket/checkpoints at http://127.0.0.1:9"
    )


def test_many_variables_are_restored_in_their_order(folder: Path) -> None:
    """There are more than ten variables of one shape: only their order distinguishes them."""
    layers = [keras.layers.Dense(1, use_bias=False) for _ in range(12)]
    model = keras.Sequential([keras.Input((1,)), *layers])
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(str(folder), model, optimizer)
    expected = [np.full((1, 1), index, np.float32) for index in range(12)]
    model.set_weights(expected)
    checkpoints.save(state(1))
    model.set_weights(expected[::-1])
    checkpoints.restore(lambda _: None)
    np.testing.assert_array_equal(model.get_weights(), expected)


def test_the_state_of_the_optimizer_is_restored(model: keras.Model, folder: Path) -> None:
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    checkpoints = Checkpoints(str(folder), model, optimizer)
    optimizer.iterations.assign(7)
    checkpoints.save(state(7))
    optimizer.iterations.assign(0)
    checkpoints.restore(lambda _: None)
    assert int(optimizer.iterations) == 7


def test_a_checkpoint_with_other_variables_changes_no_variable(model: keras.Model, folder: Path) -> None:
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    other = keras.optimizers.Adam()
    other.build(model.trainable_variables)
    Checkpoints(str(folder), model, other).save(state(1))
    weights = [weight + 1 for weight in model.get_weights()]
    model.set_weights(weights)
    with pytest.raises(UserError, match=r"other variables than this version; delete .* to start again"):
        Checkpoints(str(folder), model, optimizer).restore(lambda _: None)
    np.testing.assert_array_equal(model.get_weights()[0], weights[0])


def test_the_error_of_a_state_that_does_not_fit_names_the_value(
    checkpoints: Checkpoints, folder: Path
) -> None:
    folder.mkdir()
    np.savez(folder / "step-00000002.npz", meta=np.array('{"step": "two"}'))
    with pytest.raises(UserError, match=r"step-00000002\.npz is not a usable checkpoint \(step is 'two'; "):
        checkpoints.restore(lambda _: None)


def test_the_state_of_an_older_or_newer_version_is_read(
    checkpoints: Checkpoints, model: keras.Model, folder: Path
) -> None:
    save(checkpoints, model, 1)
    file = folder / "step-00000001.npz"
    with np.load(file) as archive:
        arrays = dict(archive)
    meta = json.loads(str(arrays["meta"]))
    assert list(meta) == ["step", "history", "identity", "run_key", "precision"]
    older = {name: value for name, value in meta.items() if name != "precision"}
    np.savez(file, **(arrays | {"meta": np.array(json.dumps(older))}))
    restored = checkpoints.restore(lambda _: None)
    assert restored is not None
    assert (restored.step, restored.precision) == (1, "")
    np.savez(file, **(arrays | {"meta": np.array(json.dumps(meta | {"new": 1}))}))
    assert checkpoints.restore(lambda _: None) == state(1)
