from pathlib import Path

import numpy as np
import pytest

from tests.unit.data.canonical import make_records, random_parts
from tinyunet.core.errors import UserError
from tinyunet.data.records.reader import RecordReader

SHAPES = [(5, 7), (4, 4), (9, 3), (6, 6), (5, 5), (4, 8), (3, 3), (2, 9)]


@pytest.mark.parametrize(("channels", "dtype"), [((), np.uint8), ((3,), np.uint8), ((), np.uint16)])
def test_images_of_any_size_and_kind_are_read_as_they_were_converted(
    tmp_path: Path, channels: tuple[int, ...], dtype: type
) -> None:
    parts = {part.name: part for part in random_parts([(*s, *channels) for s in SHAPES], dtype=dtype)}
    records, manifest = make_records(tmp_path, list(parts.values()))
    assert (manifest.channels, manifest.bits) == (3 if channels else 1, 8 * np.dtype(dtype).itemsize)
    assert (manifest.image_shape, manifest.uniform, manifest.types) == ((9, 9), False, ("scratch",))
    reader = RecordReader(records, "train", manifest, verify=True)
    for number, name in enumerate(reader.names):
        part, image = parts[name], reader.image(number)
        np.testing.assert_array_equal(image, part.image)
        assert (image.dtype, image.flags.owndata) == (dtype, False)
        expected = np.zeros(image.shape[:2], np.uint8) if part.mask is None else part.mask
        np.testing.assert_array_equal(reader.mask(number), expected)
        assert tuple(reader.shapes[number]) == part.image.shape[:2]
        assert (reader.defective[number], reader.types[number]) == (part.mask is not None, part.defect_type)


def test_some_rows_are_those_of_the_whole_image_and_mask(tmp_path: Path) -> None:
    records, manifest = make_records(tmp_path, random_parts(SHAPES))
    reader = RecordReader(records, "train", manifest)
    for number in range(len(reader)):
        for rows in (slice(0, 1), slice(1, 3), slice(2, 99), slice(99, 100)):
            np.testing.assert_array_equal(reader.image(number, rows), reader.image(number)[rows])
            np.testing.assert_array_equal(reader.mask(number, rows), reader.mask(number)[rows])


def test_a_view_of_an_image_cannot_be_written(tmp_path: Path) -> None:
    records, manifest = make_records(tmp_path, random_parts(SHAPES))
    with pytest.raises(ValueError, match="read-only"):
        RecordReader(records, "train", manifest).image(0)[...] = 0


def test_a_changed_pixel_is_found_by_the_sha256(tmp_path: Path) -> None:
    records, manifest = make_records(tmp_path, random_parts(SHAPES))
    path = records / manifest.splits["train"].shards[1].file
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    RecordReader(records, "train", manifest, verify=False)
    with pytest.raises(UserError, match=f"{path.name} has changed"):
        RecordReader(records, "train", manifest, verify=True)
