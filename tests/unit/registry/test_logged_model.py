"""Signature and requirements of the logged model; tests/services logs one."""

import importlib.metadata

import keras

from tinyunet.registry.logged_model import _requirements, _signature
from tinyunet.serving.serving_model import serving_model


def test_batch_height_and_width_of_the_signature_are_variable() -> None:
    grey = keras.Input((32, 32, 1))
    network = keras.Model(grey, keras.layers.Rescaling(1 / 20, -5.0)(grey))
    signature = _signature(serving_model(network, 0.5, 0.0, 32))
    shapes = {spec.name: (spec.type.name, spec.shape) for spec in signature.outputs}
    assert [(spec.type.name, spec.shape) for spec in signature.inputs] == [("uint8", (-1, -1, -1, 1))]
    assert shapes == {
        "probability": ("float32", (-1, -1, -1, 1)),
        "mask": ("uint8", (-1, -1, -1, 1)),
        "score": ("float32", (-1,)),
        "defective": ("uint8", (-1,)),
    }


def test_requirements_are_the_installed_versions() -> None:
    assert f"keras=={importlib.metadata.version('keras')}" in _requirements()
    assert len(_requirements()) == 3
