"""Requests for inference, of HTTP and of gRPC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tinyunet.server.errors import RequestError, shortened
from tinyunet.server.protocol.names import MAPS, OUTPUTS, Untyped, kserve_module
from tinyunet.server.protocol.tensors import Tensor, images_of

if TYPE_CHECKING:
    from tinyunet.server.admission import Admission
    from tinyunet.server.holder import Served

# A list of numbers in JSON takes up to 20 times its length in memory.
MAX_JSON = 8 * 2**20
MAX_NUMBERS = 2**22  # in the lists of an answer


@dataclass(frozen=True, eq=False)
class TensorRequest:
    """A request of either protocol.

    Attributes:
        images: uint8 or uint16 [B, H, W, C], read-only.
        id: Id that the client gave, or the empty string.
        outputs: Names of the outputs that the answer holds, and whether each is binary.
    """

    images: NDArray[Any]
    id: str
    outputs: Mapping[str, bool]


def parse_rest(
    body: bytes, header_length: str | None, served: "Served", admission: "Admission"
) -> TensorRequest:
    """Parse the body of an inference request over HTTP.

    Args:
        body: JSON, with the bytes of binary tensors behind it.
        header_length: Value of Inference-Header-Content-Length, the length of the JSON; or None.
        served: The model.
        admission: Knows the limits.

    Raises:
        RequestError: 400 or 413 with what is wrong.
    """
    split = _json_length(body, header_length)
    if split > MAX_JSON:
        raise RequestError(
            413, f"{split} bytes of JSON; expected at most {MAX_JSON}: send tensors by the binary extension"
        )
    request = _validated(body[:split])
    tensors, end = _rest_tensors(request, memoryview(body), split)
    if end != len(body):
        raise RequestError(400, f"{len(body) - end} bytes behind the tensors; see binary_data_size")
    outputs = request.outputs or []
    flags = [(output.parameters or {}).get("binary_data") for output in outputs]
    default = (request.parameters or {}).get("binary_data_output", False)
    images = images_of(tensors, served.engine.document, admission)
    asked = outputs_of(
        [o.name for o in outputs], [f if f is None else f is True for f in flags], default=default is True
    )
    _check_lists(images, asked)
    return TensorRequest(images=images, id=request.id or "", outputs=asked)


def _check_lists(images: NDArray[Any], outputs: Mapping[str, bool]) -> None:
    """Raise a RequestError, 413, if the answer would be a list of too many numbers."""
    count = images[..., 0].size * sum(name in MAPS and not binary for name, binary in outputs.items())
    if count > MAX_NUMBERS:
        raise RequestError(
            413,
            f"the answer has {count} numbers in JSON; expected at most {MAX_NUMBERS}: ask for score and "
            "defective alone, or set the parameter binary_data_output to true",
        )


def _json_length(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    if not (header_length.isascii() and header_length.isdigit()) or int(header_length[:18]) > len(body):
        raise RequestError(
            400,
            f"Inference-Header-Content-Length is {shortened(header_length)}; expected the size of the JSON, "
            f"at most {len(body)}",
        )
    return int(header_length)


def _validated(data: bytes) -> Untyped:
    """Return the JSON part as an InferenceRequest; the data of binary tensors are empty lists."""
    import orjson
    from pydantic import ValidationError

    try:
        content = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    inputs = content.get("inputs") if isinstance(content, dict) else None
    for tensor in inputs if isinstance(inputs, list) else []:
        if isinstance(tensor, dict) and "binary_data_size" in (tensor.get("parameters") or {}):
            if "data" in tensor:
                raise RequestError(400, "an input has data and binary_data_size; expected one of them")
            tensor["data"] = []
    try:
        return kserve_module("protocol.rest.v2_datamodels").InferenceRequest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise RequestError(400, f"{shortened(place) if place else 'the body'}: {first['msg']}") from error


def _rest_tensors(request: Untyped, body: memoryview, start: int) -> tuple[list[Tensor], int]:
    """Return the inputs of a request, and where the bytes of the last one end."""
    tensors = []
    for tensor in request.inputs:
        raw, size = None, (tensor.parameters or {}).get("binary_data_size")
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(body) - start:
                raise RequestError(
                    400,
                    f"binary_data_size is {shortened(size)}; expected at most {len(body) - start}, the bytes "
                    "that are left",
                )
            raw, start = body[start : start + size], start + size
        tensors.append(Tensor(tensor.name, tensor.datatype, tensor.shape, raw, tensor.data))
    return tensors, start


def parse_grpc(message: Untyped, served: "Served", admission: "Admission") -> TensorRequest:
    """Parse a ModelInferRequest.

    Raises:
        RequestError: 400 or 413 with what is wrong.
    """
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise RequestError(400, f"{len(raw)} raw contents for {len(message.inputs)} inputs")
    if raw and any(tensor.HasField("contents") for tensor in message.inputs):
        raise RequestError(400, "an input has contents and raw contents; expected one of them")
    tensors = [
        Tensor(
            tensor.name,
            tensor.datatype,
            tensor.shape,
            memoryview(raw[i]) if raw else None,
            [] if raw else list(tensor.contents.uint_contents),
        )
        for i, tensor in enumerate(message.inputs)
    ]
    names = [output.name for output in message.outputs]
    return TensorRequest(
        images=images_of(tensors, served.engine.document, admission),
        id=message.id,
        outputs=outputs_of(names, [None] * len(names), default=True),
    )


def outputs_of(names: Sequence[str], binary: Sequence[bool | None], *, default: bool) -> dict[str, bool]:
    """Return the outputs of an answer, and whether each is binary.

    Args:
        names: Names that the request lists; all outputs if it lists none.
        binary: Whether each of these is asked for in binary form; None if the request does not say.
        default: Whether outputs are binary for which the request does not say.

    Raises:
        RequestError: 400 for the name of an output that the model does not have.
    """
    for name in names:
        if name not in OUTPUTS:
            raise RequestError(400, f"output {shortened(name)}; this model has {', '.join(OUTPUTS)}")
    asked = {n: default if b is None else b for n, b in zip(names, binary, strict=True)}
    return asked or dict.fromkeys(OUTPUTS, default)
