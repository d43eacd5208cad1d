"""Models that are loaded for serving from folders and files."""

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import load_split
from tinyunet.evaluation import evaluate as evaluation_module
from tinyunet.evaluation.evaluate import evaluate
from tinyunet.model import precision
from tinyunet.model.unet import rebuild
from tinyunet.serving.exported import OUTPUTS
from tinyunet.serving.loading import load_serving
from tinyunet.serving.serving_model import serving_model


@pytest.mark.parametrize("name", ["model/model.keras", "model/copy.keras", "copy"])
def test_a_keras_file_has_the_thresholds_of_the_evaluation_beside_its_folder(
    model: Path, evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    shutil.copytree(model, tmp_path / "model")
    shutil.copytree(evaluation, tmp_path / "evaluation")
    (tmp_path / "copy").mkdir()
    for folder in ("model", "copy"):
        shutil.copy(model / "model.keras", tmp_path / folder / "copy.keras")
    load_serving(tmp_path / name)
    assert capsys.readouterr().err.endswith(f" from {tmp_path / 'evaluation'}\n")


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_precision_that_this_machine_only_emulates_is_replaced_by_float32(
    model: Path,
    records: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
) -> None:
    copied = shutil.copytree(model, tmp_path / "model")
    network = rebuild(keras.models.load_model(model / "model.keras"), precision=policy, plain=True)
    network.save(copied / "model.keras")
    serving_model(network, 0.5, 0.0, 64).save(tmp_path / "serving.keras")
    evaluated: list[str] = []

    def record_policy(network: keras.Model) -> keras.Model:
        evaluated.append(network.get_layer("decoder0_conv1").dtype_policy.name)
        return rebuild(network)

    monkeypatch.setattr(evaluation_module, "rebuild", record_policy)
    for emulated, expected in ((True, "float32"), (False, policy)):
        monkeypatch.setattr(precision, "is_emulated", lambda name, e=emulated: e and name == policy)
        evaluate(copied, records, tmp_path / f"evaluation{emulated}", EvalConfig(overlays=0))
        assert evaluated.pop() == expected
        for path in (copied, tmp_path / "serving.keras"):
            inner = load_serving(path).get_layer("tinyunet")
            assert inner.get_layer("decoder0_conv1").dtype_policy.name == expected
        messages = capsys.readouterr().err
        assert messages.count(f"only emulates {policy}: the model runs in float32") == 3 * emulated


def _network(
    shape: tuple[int | None, ...] = (8, 8, 1), inputs: int = 1, layer: keras.Layer | None = None
) -> keras.Model:
    given = [keras.Input(shape) for _ in range(inputs)]
    result = (layer or keras.layers.Conv2D(1, 1))(keras.layers.Add()(given) if inputs > 1 else given[0])
    return keras.Model(given if inputs > 1 else given[0], result)


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: _network((8, 8, 2)), r"maps \(None, 8, 8, 2\) to \(None, 8, 8, 1\); expected "),
        (lambda: _network((8, 16, 1)), r"maps \(None, 8, 16, 1\)"),
        (lambda: _network((None, None, 4)), r"maps \(None, None, None, 4\)"),
        (lambda: _network((8,), layer=keras.layers.Dense(2)), r"maps \(None, 8\) to \(None, 2\)"),
        (lambda: _network(layer=keras.layers.MaxPooling2D()), r"maps .* to \(None, 4, 4, 1\)"),
        (lambda: _network(layer=keras.layers.Conv2D(2, 1)), r"maps .* to \(None, 8, 8, 2\)"),
        (lambda: _network(inputs=2), r"maps \[\(None, 8, 8, 1\), \(None, 8, 8, 1\)\] to"),
        (lambda: keras.Sequential([keras.layers.Conv2D(1, 1)]), "has no defined input"),
    ],
)
def test_a_network_with_other_inputs_or_outputs_is_refused(
    tmp_path: Path, network: Callable[[], keras.Model], message: str
) -> None:
    network().save(tmp_path / "other.keras")
    with pytest.raises(UserError, match=rf"other\.keras {message}") as caught:
        load_serving(tmp_path / "other.keras")
    assert "\n" not in str(caught.value)


def test_a_model_with_the_outputs_of_an_export_but_no_thresholds_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, dict.fromkeys(OUTPUTS, keras.layers.Conv2D(1, 1)(inputs))).save(tmp_path / "a.keras")
    with pytest.raises(UserError, match="has no thresholds as `tinyunet export`"):
        load_serving(tmp_path / "a.keras")


def test_a_model_with_other_outputs_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    keras.Model(inputs, {"heat": keras.layers.ReLU()(inputs)}).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match="gives heat; expected probability"):
        load_serving(tmp_path / "other.keras")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "does not exist"),
        ("empty", "holds 0 .keras files"),
        ("text.keras", "not a readable Keras model"),
    ],
)
def test_a_path_without_a_model_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(UserError, match=message):
        load_serving(tmp_path / name)


def test_models_are_found_as_folder_as_file_and_in_a_download_of_the_registry(
    model: Path, records: Path, tmp_path: Path
) -> None:
    network = keras.models.load_model(model / "model.keras", compile=False)
    images = load_split(records, "test", 64).images[:4]
    (tmp_path / "download" / "data").mkdir(parents=True)
    serving_model(network, 0.5, 0.0, 64).save(tmp_path / "download" / "data" / "model.keras")
    paths = (model, model / "model.keras", tmp_path / "download")
    scores = [load_serving(path, plain=True).predict_on_batch(images[..., None])["score"] for path in paths]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-6)
    np.testing.assert_allclose(scores[2], scores[0], rtol=1e-6)
    fast = load_serving(model).predict_on_batch(images[..., None])["score"]
    np.testing.assert_allclose(
        fast, scores[0], atol=1e-5, err_msg="the layers of `rebuild` round differently"
    )
