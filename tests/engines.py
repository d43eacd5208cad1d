"""Tiny engine folders, made without TensorFlow."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tinyunet.core.documents.served import ServedExample, ServedModel
from tinyunet.engine.engine import Engine
from tinyunet.engine.example import texture

EXAMPLE = {"height": 48, "width": 64, "seed": 3}
NO_ANSWER: dict[str, Any] = {"score": 0.0, "area": 0, "mean_probability": 0.0}


def bright_spot_network(channels: int = 1, *, gain: float = 0.25, offset: float = -40.0) -> onnx.ModelProto:
    """Return a network whose logits are gain · the mean grey level of 3×3 pixels + offset.

    With the default values, pixels around which the mean level is above 160 are defective.
    """
    kernel = np.full((1, channels, 3, 3), gain / (9 * channels), np.float32)
    shape = ["batch", "height", "width"]
    nodes = [
        helper.make_node("Transpose", ["grey"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernel", "offset"], ["map"], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["map"], ["logits"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "bright_spots",
        [helper.make_tensor_value_info("grey", TensorProto.FLOAT, [*shape, channels])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [*shape, 1])],
        [
            numpy_helper.from_array(kernel, "kernel"),
            numpy_helper.from_array(np.array([offset], np.float32), "offset"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_engine(folder: Path, network: onnx.ModelProto | None = None, **values: Any) -> Path:
    """Write an engine folder of grey 8-bit images by tiles, with thresholds 0.5 and 0; return the folder.

    Args:
        folder: Folder to write.
        network: The network; None is `bright_spot_network`.
        values: Fields of `ServedModel` that differ.
    """
    folder.mkdir(parents=True)
    model = network or bright_spot_network(values.get("channels", 1))
    data = model.SerializeToString()
    (folder / "network.onnx").write_bytes(data)
    document = ServedModel(
        **{
            "dataset": "dagm",
            "category": "class1",
            "channels": 1,
            "threshold": 0.5,
            "image_threshold": 0.0,
            "network_sha256": hashlib.sha256(data).hexdigest(),
            "weights_digest": hashlib.sha256(data).hexdigest(),
            "example": ServedExample(**EXAMPLE, **NO_ANSWER),
        }
        | values
    )
    document.write(folder)
    image = texture(48, 64, document.channels, document.bits, 3)
    answer = Engine(folder, precision="float32").inspect([image], probability=True)[0]
    assert answer.probability is not None
    example = ServedExample(
        **EXAMPLE,
        score=answer.score,
        area=int(answer.mask.sum()),
        mean_probability=float(answer.probability.mean()),
    )
    document.model_copy(update={"example": example}).write(folder)
    return folder
