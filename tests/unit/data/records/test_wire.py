import pytest
import tensorflow as tf

from tinyunet.data.records.wire import Place, find_features


def _serialize(**features: tf.train.Feature) -> bytes:
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(
        deterministic=True
    )


def _integer(*values: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _bytes(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def test_the_place_of_bytes_and_the_value_of_integers_are_those_that_tensorflow_wrote() -> None:
    data = b"??" + _serialize(image=_bytes(bytes(range(200))), height=_integer(16384), defective=_integer(0))
    found = find_features(data, 2, len(data))
    assert (found["height"], found["defective"]) == (16384, 0)
    place = found["image"]
    assert isinstance(place, Place)
    assert data[place.start : place.end] == bytes(range(200))


def test_floats_and_empty_lists_have_no_place() -> None:
    data = _serialize(
        weight=tf.train.Feature(float_list=tf.train.FloatList(value=[1.5])),
        empty=_bytes(),
        height=_integer(3),
    )
    assert find_features(data, 0, len(data)) == {"height": 3}


def test_integers_that_are_not_packed_are_read() -> None:
    # Example{1: Features{1: {1: "h", 2: Feature{3: Int64List{1: 5}}}}}, with the wire type 0 for the 5.
    feature = bytes([0x1A, 2, 0x08, 5])
    entry = bytes([0x0A, 1]) + b"h" + bytes([0x12, len(feature)]) + feature
    features = bytes([0x0A, len(entry)]) + entry
    data = bytes([0x0A, len(features)]) + features
    assert find_features(data, 0, len(data)) == {"h": 5}
    assert tf.train.Example.FromString(data).features.feature["h"].int64_list.value[0] == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes([0x0A, 5, 0x0A]), "longer than its message"),
        (bytes([0x0A, 0x80]), "does not end"),
        (bytes([0x0B]), "wire type 3"),
        (bytes([0x0A, 4, 0x0A, 2, 0x08, 1]), "no name"),
    ],
)
def test_bytes_that_are_not_an_example_are_an_error(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_features(data, 0, len(data))
