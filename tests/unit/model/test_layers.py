"""The layers with fewer operations have the outputs, gradients and weights of the plain Keras layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tinyunet.model.layers import JoinedConv2D, UpConv2D
from tinyunet.model.unet import build_unet, rebuild

Arrays = list[NDArray[np.float32]]
RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(RANDOM.normal(size=shape), tf.float32)


def with_gradients(layer: keras.Layer, inputs: list[tf.Tensor], first: keras.Layer | None = None) -> Arrays:
    """Return output, gradients of inputs and gradients of weights; `first` is applied before `layer`."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        x = inputs if len(inputs) > 1 else inputs[0]
        y = layer(first(x) if first else x)
        weighted_sum = tf.reduce_sum(y * tf.sin(tf.reshape(tf.range(tf.size(y), dtype=tf.float32), y.shape)))
    return [
        y.numpy(),
        *(g.numpy() for g in tape.gradient(weighted_sum, [*inputs, *layer.trainable_variables])),
    ]


def assert_equal(actual: Arrays, expected: Arrays) -> None:
    for a, b in zip(actual, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=2e-6 * np.abs(b).max())


@pytest.mark.parametrize(
    ("height", "width", "channels", "filters"), [(6, 6, 3, 5), (1, 1, 2, 1), (5, 8, 4, 2)]
)
def test_up_conv_equals_upsampling_and_a_2x2_convolution(
    height: int, width: int, channels: int, filters: int
) -> None:
    x = normal(2, height, width, channels)
    plain = keras.layers.Conv2D(filters, 2, padding="same", activation="relu")
    plain.build((None, None, None, channels))
    weights = [normal(2, 2, channels, filters), normal(filters)]
    plain.set_weights(weights)
    fast = UpConv2D(filters, kernel_initializer="zeros")
    fast.build(x.shape)
    fast.set_weights(weights)
    assert_equal(with_gradients(fast, [x]), with_gradients(plain, [x], keras.layers.UpSampling2D(2)))


def test_joined_conv_equals_a_convolution_of_concatenated_channels() -> None:
    inputs = [normal(2, 5, 7, 3), normal(2, 5, 7, 4)]
    plain = keras.layers.Conv2D(6, 3, padding="same", activation="relu")
    plain.build((None, None, None, 7))
    fast = JoinedConv2D(6, 3, kernel_initializer="zeros")
    fast.build([x.shape for x in inputs])
    weights = [normal(3, 3, 7, 6), normal(6)]
    for layer in (plain, fast):
        layer.set_weights(weights)
    assert_equal(with_gradients(fast, inputs), with_gradients(plain, inputs, keras.layers.Concatenate()))


def test_both_forms_of_the_network_have_the_same_named_weights_and_the_same_logits() -> None:
    fast, plain = build_unet(32, seed=7), build_unet(32, seed=7, plain=True)
    assert [v.path for v in fast.trainable_variables] == [v.path for v in plain.trainable_variables]
    assert_equal(fast.get_weights(), plain.get_weights())
    x = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32)
    expected = plain(x).numpy()
    for model in (fast, rebuild(plain), rebuild(rebuild(plain), plain=True)):
        np.testing.assert_allclose(model(x), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_the_forms_differ_only_by_the_rounding_of_mixed_precision(precision: str) -> None:
    x = np.random.default_rng(2).uniform(0, 255, (1, 64, 64, 1)).astype(np.float32)
    exact = build_unet(64, seed=7, plain=True)(x).numpy()
    error = {
        plain: float(np.abs(build_unet(64, seed=7, precision=precision, plain=plain)(x) - exact).max())
        for plain in (True, False)
    }
    assert error[False] < 2 * error[True]


def test_the_plain_form_has_only_layers_of_keras() -> None:
    modules = {type(layer).__module__.split(".")[0] for layer in build_unet(32, plain=True).layers}
    assert modules == {"keras"}
