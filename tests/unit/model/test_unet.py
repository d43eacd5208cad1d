"""The network in comparison with its publication, and model files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tinyunet.core.errors import UserError
from tinyunet.model.unet import COLOUR_PARAMETERS, PARAMETERS, build_unet, rebuild

# Number of parameters of each convolution in order, k²·in·out + out, from the published description.
LAYERS = [
    320, 9_248, 9_248, 9_248, 18_496, 36_928, 73_856, 147_584, 295_168, 590_080, 131_200,
    295_040, 73_792, 16_448, 73_792, 18_464, 4_128, 18_464, 4_624, 1_040, 13_856, 9_248, 33,
]  # fmt: skip


@pytest.mark.parametrize("plain", [True, False])
def test_every_layer_has_the_published_number_of_parameters(plain: bool) -> None:
    model = build_unet(32, plain=plain)
    assert [layer.count_params() for layer in model.layers if layer.count_params()] == LAYERS
    assert model.count_params() == sum(LAYERS) == PARAMETERS == 1_850_305


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_logits_are_float32_of_the_input_size_in_every_precision(precision: str) -> None:
    logits = build_unet(precision=precision)(np.full((2, 48, 64, 1), 128, np.float32))
    assert logits.dtype == tf.float32
    assert logits.shape == (2, 48, 64, 1)


def test_grey_levels_are_centred_inside_the_model() -> None:
    normalized = build_unet(32).get_layer("normalize")(np.array([[[[0.0], [127.5], [255.0]]]], np.float32))
    np.testing.assert_allclose(np.ravel(normalized), [-1.0, 0.0, 1.0])


def test_kernels_are_he_uniform_and_biases_zero() -> None:
    model = build_unet(32, seed=3)
    kernel = model.get_layer("bottleneck_conv2").kernel.numpy()
    limit = np.sqrt(6 / (9 * 256))
    assert np.abs(kernel).max() <= limit
    assert np.std(kernel) == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert not any(np.any(v.numpy()) for v in model.variables if v.name == "bias")


def test_the_initial_weights_are_a_function_of_the_seed() -> None:
    first, repeated, other = (build_unet(32, seed=s).get_weights() for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, repeated, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_upsampling_repeats_pixels_and_the_2x2_convolution_pads_right_and_below() -> None:
    model = build_unet(32, plain=True)
    layer = model.get_layer("decoder1_up_conv")
    kernel = np.zeros(layer.kernel.shape, np.float32)
    kernel[1, 1, 0, 0] = 1.0  # selects the pixel to the lower right
    layer.kernel.assign(kernel)
    x = np.zeros((1, 4, 4, layer.kernel.shape[2]), np.float32)
    x[0, :, :, 0] = np.arange(16).reshape(4, 4)
    y = layer(x).numpy()[0, :, :, 0]
    np.testing.assert_array_equal(y[:3, :3], np.arange(16).reshape(4, 4)[1:, 1:])
    assert not y[3].any()
    assert not y[:, 3].any()
    up = model.get_layer("decoder1_up")(x).numpy()[0, :4, :4, 0]
    np.testing.assert_array_equal(up, [[0, 0, 1, 1], [0, 0, 1, 1], [4, 4, 5, 5], [4, 4, 5, 5]])


def test_a_model_rebuilt_in_another_precision_has_the_same_weights_and_scaling() -> None:
    model = build_unet(32, seed=4, precision="mixed_bfloat16", scale=0.5, offset=-7.0)
    rebuilt = rebuild(model, precision="float32")
    assert rebuilt.get_layer("normalize").offset == -7.0
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), rebuilt.get_weights(), strict=True))


def test_a_network_of_another_kind_cannot_be_rebuilt() -> None:
    inputs = keras.Input((32, 32, 1))
    other = keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs), name="other")
    with pytest.raises(UserError, match=r"the model 'other' is not a TinyUNet \(No such layer: normalize"):
        rebuild(other)


def test_a_colour_network_has_two_more_input_channels_and_a_grey_one_the_published_weights() -> None:
    assert build_unet(channels=3).count_params() == COLOUR_PARAMETERS == PARAMETERS + 576
    assert build_unet().count_params() == PARAMETERS
