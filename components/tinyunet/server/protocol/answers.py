"""Answers to requests for inference, and the description of the model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.server.protocol.names import INPUT, OUTPUTS, Untyped, kserve_module
from tinyunet.server.protocol.requests import TensorRequest

if TYPE_CHECKING:
    from tinyunet.engine.engine import Inspection
    from tinyunet.server.holder import Served


def response(
    request: TensorRequest, inspections: "Sequence[Inspection]", served: "Served", request_id: str
) -> Untyped:
    """Return kserve's InferResponse, which has `to_rest` and `to_grpc`."""
    types = kserve_module("protocol.infer_type")
    arrays = {name: _array(name, inspections) for name in request.outputs}
    outputs = [types.InferOutput(n, list(a.shape), OUTPUTS[n], data=a) for n, a in arrays.items()]
    requested = [types.RequestedOutput(n, {"binary_data": b}) for n, b in request.outputs.items()]
    return types.InferResponse(
        response_id=request.id or request_id,
        model_name=served.name,
        model_version=served.version,
        infer_outputs=outputs,
        requested_outputs=requested,
    )


def _array(name: str, inspections: "Sequence[Inspection]") -> NDArray[Any]:
    if name == "probability":
        probabilities = [one.probability for one in inspections if one.probability is not None]
        return np.stack(probabilities)[..., None]
    if name == "mask":
        return np.stack([one.mask for one in inspections])[..., None].astype(np.uint8)
    if name == "score":
        return np.array([one.score for one in inspections], np.float32)
    return np.array([one.defective for one in inspections], np.uint8)


def metadata(served: "Served") -> dict[str, Any]:
    """Return the metadata of the model; -1 is a variable size."""
    document = served.engine.document
    maps, numbers = [-1, -1, -1, 1], [-1]
    shapes = {"probability": maps, "mask": maps, "score": numbers, "defective": numbers}
    images = {"name": INPUT, "datatype": f"UINT{document.bits}", "shape": [-1, -1, -1, document.channels]}
    return {
        "name": served.name,
        "versions": [served.version],
        "platform": "onnx_openvino",
        "inputs": [images],
        "outputs": [{"name": n, "datatype": t, "shape": shapes[n]} for n, t in OUTPUTS.items()],
    }
