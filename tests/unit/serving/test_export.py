"""Exported files give the model's outputs; int8 computes in 8 bits and says what it loses."""

import json
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import load_split
from tinyunet.evaluation.inference import Predictor
from tinyunet.model.unet import build_unet, in_float32
from tinyunet.serving import export as exporting
from tinyunet.serving.export import calibration_images, compared, export, session, table
from tinyunet.serving.predict import load_serving
from tinyunet.serving.serving_model import serving_model

SIZES = [(64, 64), (100, 70)]


@pytest.fixture(scope="module")
def exported(model: Path, evaluation: Path, records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "formats"
    export(model, out, records)
    return out


@pytest.fixture(scope="module")
def serving(model: Path) -> keras.Model:
    return load_serving(model)


def grey(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (3, height, width, 1), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_saved_model_and_onnx_give_keras_outputs_at_any_size(
    exported: Path, serving: keras.Model, height: int, width: int
) -> None:
    images = grey(height, width)
    expected = serving.predict_on_batch(images)
    saved = tf.saved_model.load(exported / "saved_model").signatures["serving_default"]
    for found in (saved(images=tf.constant(images)), session(exported / "model.onnx")(images)):
        assert found.keys() == expected.keys()
        for name in ("probability", "score"):
            np.testing.assert_allclose(np.asarray(found[name]), expected[name], atol=1e-3)
        assert np.mean(np.asarray(found["mask"]) != expected["mask"]) < 0.001


def test_the_saved_model_also_takes_float_grey_levels(exported: Path, serving: keras.Model) -> None:
    images = grey(64, 64)
    as_float = images.astype(np.float32) + 0.3
    as_float[0, 0, 0], as_float[0, 0, 1] = -5.0, 300.0
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    found = tf.saved_model.load(exported / "saved_model").signatures["serving_float"](
        images=tf.constant(as_float)
    )
    expected = serving.predict_on_batch(images)
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=1e-3)


def test_int8_has_eight_bit_weights_in_every_convolution_and_is_smaller(exported: Path) -> None:
    graph = onnx.load(exported / "model-int8.onnx").graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    weights = [makers[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert len(weights) == 23
    for node in weights:
        assert node.op_type == "DequantizeLinear"
        assert constants[node.input[0]].data_type == onnx.TensorProto.INT8
    sizes = [(exported / name).stat().st_size for name in ("model-int8.onnx", "model.onnx")]
    assert sizes[0] < sizes[1] / 3


def test_figures_are_kept_and_shown_for_every_format(exported: Path, evaluation: Path) -> None:
    figures = json.loads((exported / "export.json").read_text())
    judged = json.loads((evaluation / "metrics.json").read_text())["test"]["dice_defective"]
    assert judged > 0, "or every Dice would be that of empty masks"
    assert figures["keras"]["dice_defective"] == pytest.approx(judged, abs=1e-3)
    assert list(figures) == ["keras", "saved_model", "onnx", "int8"]
    for name, found in figures.items():
        assert found.keys() == {"difference", "dice_defective", "images_per_s"}
        assert found["images_per_s"] > 0
        assert found["difference"] < (0.2 if name == "int8" else 1e-3)
        assert found["dice_defective"] == pytest.approx(figures["keras"]["dice_defective"], abs=0.05)
    assert [line.split()[0] for line in list(table(figures))[1:]] == list(figures)


def test_every_format_averages_over_eight_poses(records: Path, tmp_path: Path) -> None:
    grey_levels = keras.Input((64, 64, 1))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(grey_levels)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    network = keras.Model(grey_levels, keras.layers.Conv2D(1, 3, padding="same")(x))
    model = serving_model(network, 0.5, 0.0, 64, test_time_poses=8)
    runs = {"saved": exporting.write_saved_model(model, tmp_path / "saved")}
    runs["onnx"] = exporting.write_onnx(model, tmp_path / "model.onnx")
    runs["int8"] = exporting.quantize(
        tmp_path / "model.onnx", tmp_path / "int8.onnx", load_split(records, "train", 64)
    )
    images = load_split(records, "test", 64).images
    eight, one = (Predictor(network, EvalConfig(test_time_poses=n)).logits(images) for n in (8, 1))
    assert abs(eight - one).max() > 0.1, "or the poses would not show"
    for name, run in runs.items():
        found = np.asarray(run(images[..., None])["probability"])[..., 0]
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-eight)), atol=0.02 if name == "int8" else 1e-5)


def test_without_records_there_is_no_int8(model: Path, tmp_path: Path) -> None:
    figures = export(model / "model.keras", tmp_path / "out")
    assert list(figures) == ["keras", "saved_model", "onnx"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "export.json",
        "model.onnx",
        "saved_model",
    ]


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_mixed_precision_is_exported_in_float32(precision: str) -> None:
    model = serving_model(build_unet(32, seed=3, precision=precision, plain=True), 0.5, 0.0, 32)
    twin = in_float32(model)
    policies = {layer.dtype_policy.name for layer in twin.get_layer("tinyunet").layers}
    assert policies == {"float32"}
    exact = serving_model(build_unet(32, seed=3, plain=True), 0.5, 0.0, 32)
    images = grey(32, 32)
    np.testing.assert_allclose(twin(images)["score"], exact(images)["score"], rtol=1e-5)


def test_ranges_come_from_images_of_both_kinds(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "CALIBRATION", 8)
    train = load_split(records, "train", 64)
    chosen = calibration_images(train)
    defective = [any(np.array_equal(image, d) for d in train.images[train.defective]) for image in chosen]
    assert len(chosen) == 8
    assert sum(defective) == 4


def test_a_file_that_does_not_hold_the_model_is_refused() -> None:
    images = [np.zeros((1, 4, 4, 1), np.uint8)]

    def run(shift: float) -> exporting.Runner:
        return lambda batch: {"probability": batch / 255 + shift, "score": np.zeros(len(batch)) + shift}

    with pytest.raises(
        UserError, match=r"onnx differs from the Keras model by 0\.002; expected at most 0\.001"
    ):
        compared({"keras": run(0.0), "onnx": run(0.002)}, images)
    with pytest.raises(UserError, match="by nan"):
        compared({"keras": run(0.0), "onnx": run(float("nan"))}, images)


def test_a_missing_package_is_named(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(UserError, match="no_such_package not installed; needed to export: pip install"):
        export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
