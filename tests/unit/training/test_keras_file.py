"""The model for this machine, and the digest of its weights."""

import hashlib
import re
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tinyunet.core.errors import UserError
from tinyunet.model.unet import PARAMETERS, build_unet
from tinyunet.training.keras_file import for_this_machine, load_model, save_model, weights_digest


@pytest.mark.parametrize(("emulated", "policy"), [(True, "float32"), (False, "mixed_bfloat16")])
def test_a_model_runs_in_float32_where_its_precision_is_emulated(
    emulated: bool, policy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tinyunet.model.precision.is_emulated", lambda _: emulated)
    model = build_unet(32, seed=1, precision="mixed_bfloat16", plain=True)
    result = for_this_machine(model)
    assert result.get_layer("encoder0_conv1").dtype_policy.name == policy
    assert (result is model) is not emulated
    assert ("only emulates mixed_bfloat16" in capsys.readouterr().err) is emulated
    assert weights_digest(result) == weights_digest(model)


def test_the_digest_is_the_sha256_of_the_weights_bytes() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.set_weights([np.array([[2.0]]), np.array([3.0])])
    expected = hashlib.sha256(np.array([2.0, 3.0], np.float32).tobytes()).hexdigest()
    assert weights_digest(model) == expected


def test_equal_models_give_equal_files_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (build_unet(32, seed=5, plain=True) for _ in range(2))
    save_model(first, tmp_path / "a.keras")
    later = time.time() + 1000.0
    monkeypatch.setattr(time, "time", lambda: later)
    save_model(second, tmp_path / "b.keras")
    assert (tmp_path / "a.keras").read_bytes() == (tmp_path / "b.keras").read_bytes()
    assert b"1980" in zipfile.ZipFile(tmp_path / "a.keras").read("metadata.json")


def test_a_saved_model_gives_the_same_logits(tmp_path: Path) -> None:
    model = build_unet(32, seed=5, plain=True)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 1)).astype(np.float32)
    np.testing.assert_array_equal(load_model(tmp_path / "model.keras")(x), model(x))


def test_the_error_of_a_missing_or_damaged_model_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.keras does not exist"):
        load_model(tmp_path / "absent.keras")
    (tmp_path / "damaged.keras").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"damaged\.keras is not a readable Keras model"):
        load_model(tmp_path / "damaged.keras")


class Own(keras.layers.Layer):
    def call(self, x: object) -> object:
        return x


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        (lambda: keras.layers.Lambda(lambda x: x * 2), "Lambda"),
        (lambda: keras.layers.Lambda(keras.ops.abs), "Lambda"),
        (lambda: keras.layers.TimeDistributed(keras.layers.Lambda(keras.ops.abs)), "Lambda"),
        (Own, "Own"),
    ],
)
def test_a_model_that_contains_code_is_refused_before_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: Callable[[], keras.Layer], name: str
) -> None:
    inputs = keras.Input((4, 8, 8, 1))
    keras.Model(inputs, layer()(inputs)).save(tmp_path / "code.keras")
    monkeypatch.setattr(keras.models, "load_model", lambda *_, **__: pytest.fail("the file was loaded"))
    with pytest.raises(
        UserError, match=rf"code\.keras contains code \(.*{name}\), which is not run"
    ) as caught:
        load_model(tmp_path / "code.keras")
    assert "\n" not in str(caught.value)


def test_an_hdf5_file_is_refused_because_keras_would_run_code_in_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of the old format
        build_unet(32, plain=True).save(tmp_path / "model.h5")
    for name in ("model.h5", "model.keras"):
        (tmp_path / "model.h5").rename(tmp_path / name)
        with pytest.raises(UserError, match="it is an HDF5 file, the old format of Keras"):
            load_model(tmp_path / name)
        (tmp_path / name).rename(tmp_path / "model.h5")


def _change(path: Path, member: str, old: bytes, new: bytes) -> None:
    with zipfile.ZipFile(path) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    contents[member] = contents[member].replace(old, new)
    with zipfile.ZipFile(path, "w") as target:
        for name, data in contents.items():
            target.writestr(name, data)


def test_a_file_of_another_version_of_keras_is_named_with_its_version(tmp_path: Path) -> None:
    path, version = tmp_path / "model.keras", keras.__version__.encode()
    build_unet(32, plain=True).save(path)
    _change(path, "metadata.json", version, b"3.99.0")
    assert load_model(path).count_params() == PARAMETERS
    _change(path, "config.json", b'"Conv2D"', b'"Conv2DOfTheFuture"')
    message = (
        rf"model\.keras was written by Keras 3\.99\.0, and Keras {re.escape(keras.__version__)} cannot "
        r"read it .*Conv2DOfTheFuture.*; use an environment with keras==3\.99\.0, or train the model again"
    )
    with pytest.raises(UserError, match=message):
        load_model(path)
    _change(path, "metadata.json", b"3.99.0", version)
    with pytest.raises(UserError, match=r"model\.keras is not a readable Keras model .*Conv2DOfTheFuture"):
        load_model(path)
