"""The served model: its inputs and outputs, and files that Keras can load without this package."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from tests.unit.serving.networks import small_network
from tinyunet.core.config import EvalConfig
from tinyunet.data.dataset import load_split
from tinyunet.data.resize import area_average
from tinyunet.evaluation.inference import Predictor
from tinyunet.model.metrics import image_score
from tinyunet.serving.exported import OUTPUTS
from tinyunet.serving.serving_model import resize_by_area, serving_model

Bytes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def network(model: Path) -> keras.Model:
    return keras.models.load_model(model / "model.keras", compile=False)


@pytest.fixture(scope="module")
def images(records: Path) -> Bytes:
    return load_split(records, "test", 64).images[:4]


def _identity(size: int) -> keras.Model:
    """Return a network with the logits (grey - 100) / 20."""
    inputs = keras.Input((size, size, 1))
    return keras.Model(inputs, keras.layers.Rescaling(1 / 20, -5.0)(inputs))


def _sigmoid(x: NDArray[np.floating]) -> NDArray[np.floating]:
    return 1 / (1 + np.exp(-x))


def test_at_the_models_size_the_outputs_are_those_of_the_network(network: keras.Model, images: Bytes) -> None:
    logits = network(images[..., None].astype("float32")).numpy()
    result = serving_model(network, 0.3, 1.0, 64).predict_on_batch(images[..., None])
    assert set(result) == set(OUTPUTS)
    np.testing.assert_allclose(result["probability"], _sigmoid(logits), atol=1e-5)
    np.testing.assert_array_equal(result["mask"], (result["probability"] > 0.3).astype(np.uint8))
    np.testing.assert_allclose(result["score"], logits.reshape(4, -1).max(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(result["defective"], result["score"] > 1.0)
    assert {name: value.dtype.name for name, value in result.items()} == {
        "probability": "float32",
        "mask": "uint8",
        "score": "float32",
        "defective": "uint8",
    }


@pytest.mark.parametrize("size", [64, 100])
def test_over_eight_poses_the_outputs_are_those_of_the_evaluation(
    images: Bytes, tmp_path: Path, size: int
) -> None:
    """The network is one convolution, which is not symmetric, so that the poses differ."""
    grey = keras.Input((64, 64, 1))
    kernel = keras.initializers.GlorotUniform(seed=0)
    convolution = keras.layers.Conv2D(1, 5, padding="same", kernel_initializer=kernel)
    network = keras.Model(grey, convolution(keras.layers.Rescaling(1 / 64, -2.0)(grey)))
    serving = serving_model(network, 0.3, 1.0, 64, image_score="top100", test_time_poses=8)
    serving.save(tmp_path / "serving.keras")
    inputs = np.stack([np.kron(i, np.ones((2, 2), np.uint8))[:size, :size] for i in images])
    resized = np.stack([area_average(i, 64) for i in inputs])
    logits = Predictor(network, EvalConfig(test_time_poses=8)).logits(resized)
    one = Predictor(network, EvalConfig()).logits(resized)
    assert abs(logits - one).max() > 1e-2, "otherwise this test shows nothing"
    for model in (serving, keras.models.load_model(tmp_path / "serving.keras", compile=False)):
        result = model.predict_on_batch(inputs[..., None])
        np.testing.assert_allclose(result["score"], image_score(logits, "top100"), rtol=1e-4)
        if size == 64:
            np.testing.assert_allclose(result["probability"][..., 0], _sigmoid(logits), atol=1e-5)
            np.testing.assert_array_equal(result["mask"], result["probability"] > 0.3)


def test_top100_is_the_mean_of_the_hundred_largest_logits(images: Bytes) -> None:
    network = small_network(64)
    logits = network(images[..., None].astype("float32")).numpy().reshape(4, -1)
    result = serving_model(network, 0.5, 0.0, 64, image_score="top100").predict_on_batch(images[..., None])
    np.testing.assert_allclose(result["score"], np.sort(logits)[:, -100:].mean(axis=1), rtol=1e-4)


def test_the_smoothed_score_is_that_of_the_evaluation(images: Bytes) -> None:
    network = small_network(64)
    logits = network(images[..., None].astype("float32")).numpy()
    result = serving_model(network, 0.5, 0.0, 64, image_score="smoothed").predict_on_batch(images[..., None])
    np.testing.assert_allclose(result["score"], image_score(logits, "smoothed"), rtol=1e-4)


@pytest.mark.parametrize("side", [128, 512, 96, 100])
def test_larger_images_are_resized_like_the_training_data(side: int) -> None:
    source = np.random.default_rng(0).integers(0, 256, (side, side), dtype=np.uint8)
    small = (area_average(source, 32) / 20 - 5.0).astype(np.float32)
    result = serving_model(_identity(32), 0.5, 0.0, 32).predict_on_batch(source[None, ..., None])
    expected = Image.fromarray(_sigmoid(small)).resize((side, side), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(result["probability"][0, ..., 0], expected, atol=1e-4)
    assert result["score"][0] == pytest.approx(small.max(), abs=1e-5)


@pytest.mark.parametrize("size", [64, 96, 320, 480])
def test_resized_grey_levels_equal_those_of_the_training_data(size: int) -> None:
    source = np.random.default_rng(0).integers(0, 256, (3, 512, 512), dtype=np.uint8)
    resized = keras.ops.convert_to_numpy(resize_by_area(source[..., None].astype(np.float32), size))
    np.testing.assert_array_equal(resized[..., 0], [area_average(image, size) for image in source])


def test_the_mask_of_a_wide_image_has_its_size_and_orientation() -> None:
    source = np.zeros((1, 64, 128, 1), np.uint8)
    source[:, :, 64:] = 200  # right half
    result = serving_model(_identity(32), 0.5, 0.0, 32).predict_on_batch(source)
    assert result["mask"].shape == source.shape
    assert result["mask"][0, :, :62].max() == 0
    assert result["mask"][0, :, 66:].min() == 1


@pytest.mark.usefixtures("eager")
def test_keras_loads_the_saved_model_without_this_package(
    network: keras.Model, images: Bytes, tmp_path: Path
) -> None:
    serving = serving_model(network, 0.5, 0.0, 64)
    serving.save(tmp_path / "serving.keras")
    config = zipfile.ZipFile(tmp_path / "serving.keras").read("config.json").decode()
    assert '"tinyunet.' not in config
    loaded = keras.models.load_model(tmp_path / "serving.keras", compile=False)
    twice = np.repeat(np.repeat(images, 2, axis=1), 2, axis=2)[..., None]
    for batch in (images[..., None], twice):
        expected, outputs = serving.predict_on_batch(batch), loaded.predict_on_batch(batch)
        for name in OUTPUTS:
            np.testing.assert_allclose(outputs[name], expected[name], atol=1e-6)


def test_the_saved_model_for_tensorflow_has_keras_outputs(images: Bytes, tmp_path: Path) -> None:
    serving = serving_model(small_network(64), 0.5, 0.0, 64)
    serving.export(tmp_path / "saved", verbose=False)
    saved = tf.saved_model.load(tmp_path / "saved")
    outputs = saved.serve(images[..., None])
    expected = serving.predict_on_batch(images[..., None])
    np.testing.assert_allclose(outputs["probability"], expected["probability"], atol=1e-3)
    np.testing.assert_allclose(outputs["score"], expected["score"], atol=1e-3)
