"""Served models for images of any size: the same as the network on the padded image."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unit.serving.networks import small_network
from tinyunet.model.metrics import image_score, sigmoid
from tinyunet.model.tiles import pad_to_stride
from tinyunet.model.unet import build_unet, forward_function
from tinyunet.serving.native import native_model


@pytest.fixture(scope="module")
def unet() -> keras.Model:
    return build_unet(seed=3, scale=0.02, offset=-2.5, plain=True)


def texture(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("shape", [(1, 3), (5, 40), (33, 48), (64, 31)])
def test_the_outputs_have_the_size_of_the_image_and_come_from_its_own_pixels(
    unet: keras.Model, shape: tuple[int, int]
) -> None:
    serving = native_model(unet, 0.5, 0.25)
    images = texture(2, *shape)
    padded = np.stack([pad_to_stride(image) for image in images])
    logits = forward_function(unet)(tf.constant(padded)).numpy()[:, : shape[0], : shape[1]]
    outputs = serving.predict_on_batch(images[..., None])
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-4)
    np.testing.assert_allclose(outputs["probability"], sigmoid(logits), atol=1e-4)
    np.testing.assert_allclose(outputs["score"], image_score(logits, "max"), atol=1e-4)
    assert (outputs["mask"] == (outputs["probability"] > 0.5)).all()
    assert (outputs["defective"] == (outputs["score"] > 0.25)).all()


@pytest.mark.parametrize("kind", ["top100", "smoothed"])
def test_other_scores_are_those_of_the_evaluation(kind: str) -> None:
    serving = native_model(small_network(scale=0.02, offset=-2.5), 0.5, 0.0, image_score=kind)
    outputs = serving.predict_on_batch(texture(2, 21, 40, 1))
    np.testing.assert_allclose(outputs["score"], image_score(outputs["logits"][..., 0], kind), atol=1e-4)


def test_colour_16_bits_and_8_poses_are_possible() -> None:
    serving = native_model(small_network(channels=3), 0.5, 0.0, bits=16, test_time_poses=8)
    assert serving.input_shape == (None, None, None, 3)
    assert serving.inputs[0].dtype == "uint16"
    image = texture(1, 20, 40, 3).astype(np.uint16)
    outputs = serving.predict_on_batch(image)
    turned = serving.predict_on_batch(image[:, :, ::-1].swapaxes(1, 2))
    assert outputs["mask"].shape == (1, 20, 40, 1)
    assert turned["mask"].shape == (1, 40, 20, 1)
