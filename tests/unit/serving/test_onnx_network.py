"""Keras networks as ONNX."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

from tinyunet.core.errors import UserError
from tinyunet.engine.network import Network
from tinyunet.model.unet import build_unet, convert_to_float32
from tinyunet.serving.onnx_network import to_onnx


def run(network: keras.Model, levels: np.ndarray, folder: Path) -> np.ndarray:
    """Return what OpenVINO computes from a network."""
    (folder / "network.onnx").write_bytes(to_onnx(network).SerializeToString())
    return Network(folder / "network.onnx", "float32")(levels)


@pytest.mark.parametrize(("size", "channels"), [(None, 1), (32, 3)])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_logits_are_those_of_keras_in_float32(
    tmp_path: Path, size: int | None, channels: int, precision: str
) -> None:
    network = build_unet(
        size, channels=channels, seed=1, scale=0.02, offset=-2.5, plain=True, precision=precision
    )
    for layer in network.layers:  # biases are zero at first
        layer.set_weights(
            [np.random.default_rng(2).normal(w, 0.05).astype("f4") for w in layer.get_weights()]
        )
    levels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, channels)).astype(np.float32)
    expected = np.asarray(convert_to_float32(network)(levels))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(run(network, levels, tmp_path), expected, atol=1e-4)


def test_batch_height_and_width_are_variable_and_the_graph_is_valid() -> None:
    model = to_onnx(build_unet(32, plain=True))
    onnx.checker.check_model(model, full_check=True)
    shapes = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["batch", "height", "width", 1]] * 2


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: keras.layers.Dense(1), "has a layer Dense, expected those of a TinyUNet"),
        (lambda: keras.layers.Conv2D(1, 1, strides=2, padding="same"), r"has strides \(2, 2\), expected"),
        (lambda: keras.layers.Conv2D(1, 3), "has padding valid, expected same"),
        (lambda: keras.layers.Conv2D(1, 1, padding="same", activation="tanh"), "has activation tanh"),
        (lambda: keras.layers.MaxPooling2D(3), r"has pool_size \(3, 3\)"),
        (lambda: keras.layers.UpSampling2D(2, interpolation="bilinear"), "has interpolation bilinear"),
    ],
)
def test_other_layers_are_refused(layer: Callable[[], keras.layers.Layer], message: str) -> None:
    inputs = keras.Input((16, 16, 1))
    with pytest.raises(UserError, match=message):
        to_onnx(keras.Model(inputs, layer()(inputs)))
