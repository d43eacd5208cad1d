"""The bare network of a Keras model as ONNX, with variable batch, height and width.

The graph is written layer by layer. tf2onnx, which `keras.Model.export` calls, needs half a minute, and its
graphs of networks of a fixed size keep that size.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyunet.core.errors import UserError

if TYPE_CHECKING:
    import keras
    import onnx

OPSET, IR_VERSION = 17, 8
INPUT, OUTPUT = "levels", "logits"
_DIMENSIONS = ("batch", "height", "width")
Config = Mapping[str, Any]


def to_onnx(network: "keras.Model") -> "onnx.ModelProto":
    """Return a network as ONNX in float32, from levels [B, H, W, C] to logits [B, H, W, 1].

    Args:
        network: A functional model of Keras' own layers, as `build_unet(plain=True)` makes it.

    Raises:
        UserError: if a layer is not one of those of a TinyUNet.
    """
    from onnx import TensorProto, helper

    graph = _Graph(network)
    config = network.get_config()
    for layer in config["layers"]:
        graph.add(layer)
    graph.node("Transpose", [_tensor(_output_layer(config))], OUTPUT, perm=[0, 2, 3, 1])
    shapes: dict[str, list[str | int | None]] = {
        INPUT: [*_DIMENSIONS, int(network.input_shape[-1])],
        OUTPUT: [*_DIMENSIONS, 1],
    }
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()
    }
    return helper.make_model(
        helper.make_graph(
            graph.nodes, "tinyunet", [values[INPUT]], [values[OUTPUT]], initializer=graph.constants
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tinyunet",
    )


class _Graph:
    """Nodes and constants of an ONNX graph; see `_tensor` for the names."""

    def __init__(self, network: "keras.Model") -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._network = network

    def add(self, layer: Config) -> None:
        """Add the nodes of one layer of the configuration of a model."""
        kind, config = layer["class_name"], layer["config"]
        writers: dict[str, Callable[[str, list[str], Config], None]] = {
            "InputLayer": self._input,
            "Rescaling": self._rescaling,
            "Conv2D": self._convolution,
            "MaxPooling2D": self._pooling,
            "UpSampling2D": self._upsampling,
            "Concatenate": lambda name, inputs, _: self.node("Concat", inputs, name, axis=1),
        }
        if kind not in writers:
            raise UserError(
                f"the model {self._network.name!r} has a layer {kind}, expected those of a TinyUNet; use a "
                "model that `tinyunet train` wrote"
            )
        inputs = [_tensor(name) for name in _inputs(layer["inbound_nodes"])]
        writers[kind](_tensor(config["name"]), inputs, config)

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:  # noqa: ANN401
        """Add one node."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))

    def _constant(self, name: str, value: object) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def _input(self, name: str, _: list[str], __: Config) -> None:
        self.node("Transpose", [INPUT], name, perm=[0, 3, 1, 2])

    def _rescaling(self, name: str, inputs: list[str], config: Config) -> None:
        self.node("Mul", [*inputs, self._constant(f"{name}/scale", config["scale"])], f"{name}/scaled")
        self.node("Add", [f"{name}/scaled", self._constant(f"{name}/offset", config["offset"])], name)

    def _convolution(self, name: str, inputs: list[str], config: Config) -> None:
        self._require(config, strides=[(1, 1)], padding=["same"], dilation_rate=[(1, 1)], groups=[1])
        self._require(config, activation=["relu", "linear"], use_bias=[True])
        kernel, bias = self._network.get_layer(config["name"]).get_weights()
        # With "same" padding, a kernel of an even size has one pixel more after the centre than before it.
        pads = [[(size - 1) // 2, size // 2] for size in kernel.shape[:2]]
        output = f"{name}/linear" if config["activation"] == "relu" else name
        constants = [
            self._constant(f"{name}/kernel", kernel.transpose(3, 2, 0, 1)),
            self._constant(f"{name}/bias", bias),
        ]
        self.node("Conv", [*inputs, *constants], output, pads=[p[0] for p in pads] + [p[1] for p in pads])
        if output != name:
            self.node("Relu", [output], name)

    def _pooling(self, name: str, inputs: list[str], config: Config) -> None:
        self._require(config, pool_size=[(2, 2)], strides=[(2, 2)], padding=["valid", "same"])
        self.node("MaxPool", inputs, name, kernel_shape=[2, 2], strides=[2, 2])

    def _upsampling(self, name: str, inputs: list[str], config: Config) -> None:
        self._require(config, size=[(2, 2)], interpolation=["nearest"])
        scales = self._constant(f"{name}/scales", [1, 1, 2, 2])
        self.node(
            "Resize",
            [*inputs, "", scales],
            name,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _require(self, config: Config, **allowed: list[object]) -> None:
        for key, values in allowed.items():
            value = tuple(config[key]) if isinstance(config[key], list) else config[key]
            if value not in values:
                raise UserError(
                    f"the layer {config['name']!r} of the model {self._network.name!r} has {key} {value}, "
                    f"expected {values[0]}; use a model that `tinyunet train` wrote"
                )


def _tensor(layer: str) -> str:
    """Return the name of the tensor that a layer computes; it is not that of the graph's input or output."""
    return f"layer/{layer}"


def _inputs(nodes: object) -> Iterator[str]:
    """Yield the names of the layers whose outputs a layer takes, from its inbound nodes."""
    if isinstance(nodes, Mapping):
        if nodes.get("class_name") == "__keras_tensor__":
            yield str(nodes["config"]["keras_history"][0])
            return
        nodes = list(nodes.values())
    if isinstance(nodes, list | tuple):
        for node in nodes:
            yield from _inputs(node)


def _output_layer(config: Config) -> str:
    """Return the name of the layer whose output is the only output of a model."""
    output = config["output_layers"]
    while not isinstance(output[0], str):
        output = output[0]
    return str(output[0])
