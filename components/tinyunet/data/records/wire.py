"""The place of every field in a serialized tf.train.Example, without decoding it.

Encoding: https://protobuf.dev/programming-guides/encoding; messages: tensorflow/core/example/feature.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass

Bytes = bytes | memoryview
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_BYTES_LIST, _INT64_LIST = 1, 3  # fields of tf.train.Feature


@dataclass(frozen=True)
class Place:
    """Where the bytes of a field are: from `start` to `end`."""

    start: int
    end: int


def find_features(data: Bytes, start: int, end: int) -> dict[str, Place | int]:
    """Return the first value of every feature of a tf.train.Example.

    Args:
        data: A buffer that contains the example, such as a memory map; only the fields' headers are read.
        start: Begin of the example in `data`.
        end: End of the example in `data`.

    Returns:
        By name: the place of a text or of bytes in `data`, or the value of an integer.

    Raises:
        ValueError: if the bytes are not a tf.train.Example of bytes and integers.
    """
    found: dict[str, Place | int] = {}
    for features in _messages(data, Place(start, end), 1):
        for entry in _messages(data, features, 1):
            parts = dict(_fields(data, entry))
            key, feature = parts.get(1), parts.get(2)
            if not isinstance(key, Place) or not isinstance(feature, Place):
                raise ValueError(f"the feature at byte {entry.start} has no name or no value")
            value = _first_value(data, feature)
            if value is not None:
                found[bytes(data[key.start : key.end]).decode()] = value
    return found


def _first_value(data: Bytes, feature: Place) -> Place | int | None:
    for kind, values in _fields(data, feature):
        if not isinstance(values, Place):
            continue
        for number, value in _fields(data, values):
            if number != 1:
                continue
            if kind == _BYTES_LIST and isinstance(value, Place):
                return value
            if kind == _INT64_LIST:  # integers are packed in one field, or have a field each
                return _varint(data, value.start, value.end)[0] if isinstance(value, Place) else value
    return None


def _messages(data: Bytes, place: Place, number: int) -> Iterator[Place]:
    return (value for n, value in _fields(data, place) if n == number and isinstance(value, Place))


def _fields(data: Bytes, place: Place) -> Iterator[tuple[int, Place | int]]:
    """Yield the number of every field of a message, and its integer or the place of its bytes."""
    position, end = place.start, place.end
    while position < end:
        tag, position = _varint(data, position, end)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, position = _varint(data, position, end)
            yield number, value
            continue
        if wire_type == _LENGTH:
            size, position = _varint(data, position, end)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise ValueError(f"byte {position} has the wire type {wire_type}")
        if size > end - position:
            raise ValueError(f"the field at byte {position} is longer than its message")
        yield number, Place(position, position + size)
        position += size


def _varint(data: Bytes, position: int, end: int) -> tuple[int, int]:
    """Return an integer, which has seven bits in every byte, and the position behind it."""
    value = shift = 0
    while position < end and shift < 64:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
    raise ValueError(f"the integer at byte {position} does not end")
