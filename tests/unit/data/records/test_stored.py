import numpy as np
import pytest

from tinyunet.data.records.stored import StoredImages

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 3, 4), dtype=np.uint8)
INDICES = np.arange(5)


def _stored(shape: tuple[int, ...] | None) -> StoredImages:
    return StoredImages(lambda index, rows: PIXELS[index][rows], INDICES, shape=shape, dtype=np.uint8)


@pytest.mark.parametrize(
    "key",
    [1, -1, np.int64(2), slice(1, 4), [3, 0], np.array([4, 4]), PIXELS[:, 0, 0] > 128, (..., None), (1, 2)],
    ids=str,
)
def test_images_of_one_size_are_indexed_as_an_array(key: object) -> None:
    images = _stored((3, 4))
    assert (images.shape, images.ndim, images.dtype, len(images)) == ((5, 3, 4), 3, np.uint8, 5)
    np.testing.assert_array_equal(images[key], PIXELS[key])  # type: ignore[index]
    np.testing.assert_array_equal(np.asarray(images), PIXELS)


def test_a_part_of_images_of_any_size_is_read_when_it_is_needed() -> None:
    part = _stored(None)[[3, 0]]
    assert isinstance(part, StoredImages)
    assert part.shape == (2,)
    np.testing.assert_array_equal(part[0], PIXELS[3])
    np.testing.assert_array_equal(np.stack(list(part[::-1])), PIXELS[[0, 3]])
    np.testing.assert_array_equal(part.rows(0, slice(1, 2)), PIXELS[3, 1:2])


def test_an_index_outside_of_the_split_is_an_error() -> None:
    with pytest.raises(IndexError):
        _stored((3, 4))[5]
