"""Models that are loaded for serving from folders and files."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import load_split
from tinyunet.evaluation import evaluate as evaluation_module
from tinyunet.evaluation.evaluate import evaluate
from tinyunet.model import unet
from tinyunet.model.unet import rebuild
from tinyunet.serving.loading import load_serving
from tinyunet.serving.serving_model import serving_model


@pytest.mark.parametrize("name", ["model/model.keras", "model/copy.keras", "copy"])
def test_a_keras_file_takes_the_thresholds_of_its_folder(
    model: Path, evaluation: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    shutil.copytree(model, tmp_path / "model")
    shutil.copytree(evaluation, tmp_path / "evaluation")
    (tmp_path / "copy").mkdir()
    for place in ("model", "copy"):
        shutil.copy(model / "model.keras", tmp_path / place / "copy.keras")
    load_serving(tmp_path / name)
    assert capsys.readouterr().err.endswith(f" from {tmp_path / 'evaluation'}\n")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_what_this_machine_only_emulates_runs_in_float32(
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
    used: list[str] = []
    forward = evaluation_module.rebuild

    def watched(network: keras.Model) -> keras.Model:
        used.append(network.get_layer("decoder0_conv1").dtype_policy.name)
        return forward(network)

    monkeypatch.setattr(evaluation_module, "rebuild", watched)
    for emulated, expected in ((True, "float32"), (False, policy)):
        monkeypatch.setattr(unet, "is_emulated", lambda name, e=emulated: e and name == policy)
        evaluate(copied, records, tmp_path / f"judged{emulated}", EvalConfig(overlays=0))
        assert used.pop() == expected
        for place in (copied, tmp_path / "serving.keras"):
            inner = load_serving(place).get_layer("tinyunet")
            assert inner.get_layer("decoder0_conv1").dtype_policy.name == expected
        said = capsys.readouterr().err
        assert said.count(f"only emulates {policy}: the model runs in float32") == 3 * emulated


def test_a_model_with_other_outputs_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    keras.Model(inputs, {"heat": keras.layers.ReLU()(inputs)}).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match="gives heat; expected probability"):
        load_serving(tmp_path / "other.keras")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "does not exist"),
        ("empty", "holds 0 .keras files"),
        ("text.keras", "not a readable Keras model"),
    ],
)
def test_a_model_that_is_none_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(UserError, match=message):
        load_serving(tmp_path / name)


def test_models_are_found_as_folder_file_and_inside_a_registry_download(
    network: keras.Model, model: Path, images: Bytes, tmp_path: Path
) -> None:
    (tmp_path / "download" / "data").mkdir(parents=True)
    serving_model(network, 0.5, 0.0, 64).save(tmp_path / "download" / "data" / "model.keras")
    places = (model, model / "model.keras", tmp_path / "download")
    found = [load_serving(place, plain=True) for place in places]
    scores = [one.predict_on_batch(images[..., None])["score"] for one in found]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-6)
    np.testing.assert_allclose(scores[2], scores[0], rtol=1e-6)
    fast = load_serving(model).predict_on_batch(images[..., None])["score"]
    np.testing.assert_allclose(fast, scores[0], atol=1e-5, err_msg="the fast layers round otherwise")
