"""SavedModel, ONNX and int8 ONNX files have the outputs of the model."""

from pathlib import Path

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf

from tinyunet.core.config import EvalConfig
from tinyunet.data.dataset import load_split
from tinyunet.evaluation.inference import Predictor
from tinyunet.serving import formats
from tinyunet.serving.formats import calibration_images, load_onnx, quantize, write_onnx, write_saved_model
from tinyunet.serving.serving_model import serving_model

SIZES = [(64, 64), (100, 70)]


def grey(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (3, height, width, 1), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_saved_model_and_onnx_have_keras_outputs_at_any_size(
    exported: Path, serving: keras.Model, height: int, width: int
) -> None:
    images = grey(height, width)
    expected = serving.predict_on_batch(images)
    saved = tf.saved_model.load(exported / "saved_model").signatures["serving_default"]
    for outputs in (saved(images=tf.constant(images)), load_onnx(exported / "model.onnx")(images)):
        assert outputs.keys() == expected.keys()
        for name in ("probability", "score"):
            np.testing.assert_allclose(np.asarray(outputs[name]), expected[name], atol=1e-3)
        assert np.mean(np.asarray(outputs["mask"]) != expected["mask"]) < 0.001


def test_the_saved_model_also_has_a_signature_for_float_grey_levels(
    exported: Path, serving: keras.Model
) -> None:
    images = grey(64, 64)
    as_float = images.astype(np.float32) + 0.3
    as_float[0, 0, 0], as_float[0, 0, 1] = -5.0, 300.0
    images[0, 0, 0], images[0, 0, 1] = 0, 255
    outputs = tf.saved_model.load(exported / "saved_model").signatures["serving_float"](
        images=tf.constant(as_float)
    )
    expected = serving.predict_on_batch(images)
    np.testing.assert_allclose(outputs["probability"], expected["probability"], atol=1e-3)


def test_int8_has_8_bit_weights_in_every_convolution_and_a_smaller_file(exported: Path) -> None:
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


def test_every_format_averages_over_eight_poses(records: Path, tmp_path: Path) -> None:
    grey_levels = keras.Input((64, 64, 1))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(grey_levels)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    network = keras.Model(grey_levels, keras.layers.Conv2D(1, 3, padding="same")(x))
    model = serving_model(network, 0.5, 0.0, 64, test_time_poses=8)
    runners = {"saved_model": write_saved_model(model, tmp_path / "saved_model")}
    runners["onnx"] = write_onnx(model, tmp_path / "model.onnx")
    runners["int8"] = quantize(
        tmp_path / "model.onnx", tmp_path / "int8.onnx", load_split(records, "train", 64)
    )
    images = load_split(records, "test", 64).images
    eight, one = (Predictor(network, EvalConfig(test_time_poses=n)).logits(images) for n in (8, 1))
    assert abs(eight - one).max() > 0.1, "otherwise this test shows nothing"
    for name, run in runners.items():
        probability = np.asarray(run(images[..., None])["probability"])[..., 0]
        np.testing.assert_allclose(
            probability, 1 / (1 + np.exp(-eight)), atol=0.02 if name == "int8" else 1e-5
        )


def test_calibration_images_are_half_defective_and_half_clean(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "CALIBRATION_IMAGES", 8)
    train = load_split(records, "train", 64)
    images = calibration_images(train)
    defective = [any(np.array_equal(image, d) for d in train.images[train.defective]) for image in images]
    assert len(images) == 8
    assert sum(defective) == 4
