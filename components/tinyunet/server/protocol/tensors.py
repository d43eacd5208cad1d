"""The input tensor of a request: checked, and as an array."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.server.errors import RequestError, shortened
from tinyunet.server.protocol.names import INPUT

if TYPE_CHECKING:
    from tinyunet.core.documents.served import ServedModel
    from tinyunet.server.admission import Admission

_NESTING = 8


@dataclass(frozen=True)
class Tensor:
    """An input tensor: its description, and its elements as raw bytes or as lists of numbers."""

    name: str
    datatype: str
    shape: Sequence[int]
    raw: "memoryview | None"
    values: Sequence[Any]


def images_of(tensors: Sequence[Tensor], document: "ServedModel", admission: "Admission") -> NDArray[Any]:
    """Return the images of a request, uint8 or uint16 [B, H, W, C].

    Raises:
        RequestError: 400 unless the tensor is what the model takes; 413 if it is too large.
    """
    if [tensor.name for tensor in tensors] != [INPUT]:
        names = [tensor.name for tensor in tensors]
        raise RequestError(400, f"inputs {shortened(names)}; expected one with the name {INPUT!r}")
    tensor, datatype = tensors[0], f"UINT{document.bits}"
    if tensor.datatype != datatype:
        raise RequestError(400, f"datatype {shortened(tensor.datatype)}; this model expects {datatype}")
    shape = _checked_shape(tensor.shape, document.channels)
    admission.check_images(*shape[:3])  # requests are parsed in threads, where no room can be held
    dtype = np.dtype(f"<u{document.bits // 8}")
    values = _from_numbers(tensor.values, dtype) if tensor.raw is None else _from_bytes(tensor.raw, dtype)
    if values.size != np.prod(shape, dtype=np.int64):
        raise RequestError(400, f"{values.size} elements; the shape {list(shape)} expects {np.prod(shape)}")
    return values.reshape(shape)


def _checked_shape(shape: Sequence[int], channels: int) -> tuple[int, int, int, int]:
    whole = len(shape) == 4 and all(type(side) is int and 0 < side < 2**31 for side in shape)
    if not whole or shape[3] != channels:
        raise RequestError(
            400, f"shape {shortened(list(shape))}; this model expects [images, height, width, {channels}]"
        )
    return shape[0], shape[1], shape[2], shape[3]


def _from_bytes(raw: memoryview, dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(raw) % dtype.itemsize:
        raise RequestError(400, f"{len(raw)} bytes of a tensor whose elements have {dtype.itemsize}")
    return np.frombuffer(raw, dtype)


def _from_numbers(values: Sequence[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Convert a list of integers, flat or nested, of the range of `dtype`."""
    for _ in range(_NESTING):
        if not values or type(values[0]) is not list:
            break
        if set(map(type, values)) != {list}:
            raise RequestError(400, "the data mix numbers and lists; expected a flat list of whole numbers")
        values = list(chain.from_iterable(values))
    if kinds := {kind.__name__ for kind in set(map(type, values)) - {int}}:
        raise RequestError(
            400, f"the data hold {', '.join(sorted(kinds))}; expected a flat list of whole numbers"
        )
    largest = np.iinfo(dtype).max
    if values and not (min(values) >= 0 and max(values) <= largest):
        raise RequestError(400, f"the data hold {min(values)} to {max(values)}; expected 0 to {largest}")
    return np.array(values, dtype)
