import tracemalloc

import numpy as np
import pytest

from tinyunet.data.resize import area_average


def test_the_average_of_two_by_two_pixels_is_rounded_half_up() -> None:
    image = np.array([[1, 2, 0, 1], [3, 4, 0, 1], [255, 255, 0, 0], [255, 254, 0, 1]], np.uint8)
    # 10/4 = 2.5, 2/4 = 0.5, 1019/4 = 254.75, 1/4
    np.testing.assert_array_equal(area_average(image, 2), [[3, 1], [255, 0]])


def test_a_pixel_that_is_covered_in_part_counts_in_part() -> None:
    image = np.array([[0, 90, 240]] * 3, np.uint8)
    # A pixel of the result is 1.5 wide: (0 + 90/2)/1.5 = 30, (90/2 + 240)/1.5 = 190.
    np.testing.assert_array_equal(area_average(image, 2), [[30, 190]] * 2)


@pytest.mark.parametrize(("source", "size"), [(12, 5), (20, 16), (30, 7), (9, 9)])
def test_the_average_is_the_mean_of_the_enlarged_image(source: int, size: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (source, source), dtype=np.uint8)
    enlarged = np.kron(image, np.ones((size, size)))  # an output pixel is now source × source complete pixels
    means = enlarged.reshape(size, source, size, source).mean((1, 3))
    np.testing.assert_array_equal(area_average(image, size), np.floor(means + 0.5 + 1e-9))


@pytest.mark.parametrize("shape", [(12, 30), (7, 20, 3), (4, 6), (3, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rectangles_colours_and_enlarged_images_are_means_too(shape: tuple[int, ...], dtype: type) -> None:
    size, (height, width) = 10, shape[:2]
    image = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    enlarged = image.repeat(size, 0).repeat(size, 1).astype(float)
    means = enlarged.reshape(size, height, size, width, *shape[2:]).mean((1, 3))
    result = area_average(image, size)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, np.floor(means + 0.5 + 1e-7))


def test_an_image_of_several_strips_is_resized_as_its_transpose() -> None:
    image = np.random.default_rng(1).integers(0, 256, (1100, 2100), dtype=np.uint8)
    np.testing.assert_array_equal(area_average(image, 7), area_average(image.T, 7).T)


def test_the_sums_of_a_large_colour_image_at_a_half_take_two_bytes_a_value() -> None:
    image = np.zeros((4096, 1024, 3), np.uint8)
    tracemalloc.start()
    area_average(image, (2048, 512))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2048 * 1024 * 3 * 8, "sums of 8 bytes alone would take this"


@pytest.mark.parametrize("size", [(3, 255), (257, 256), (2, 1)])
def test_the_sums_of_the_largest_levels_fit_in_their_type(size: tuple[int, int]) -> None:
    for dtype in (np.uint8, np.uint16):
        level = np.iinfo(dtype).max
        assert (area_average(np.full((514, 511), level, dtype), size) == level).all()


def test_a_constant_image_of_the_official_size_stays_constant() -> None:
    image = np.full((512, 512), 255, np.uint8)
    for size in (511, 500, 128, 1):
        assert (area_average(image, size) == 255).all()
