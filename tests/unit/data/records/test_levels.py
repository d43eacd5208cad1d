import math
from fractions import Fraction

import numpy as np
import pytest

from tinyunet.data.records.levels import count_levels, mean_and_deviation


@pytest.mark.parametrize(("dtype", "levels"), [(np.uint8, 256), (np.uint16, 65536)])
def test_every_level_is_counted(dtype: type, levels: int) -> None:
    counts = count_levels(np.array([[[0, 7, 7]], [[levels - 1, 0, 7]]], dtype))
    assert len(counts) == levels
    assert (counts[0], counts[7], counts[-1], counts.sum()) == (2, 3, 1, 6)


def test_an_image_that_is_counted_in_parts_has_all_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (1030, 2050), dtype=np.uint8)
    np.testing.assert_array_equal(count_levels(image), np.bincount(image.ravel(), minlength=256))


def test_the_mean_and_the_deviation_are_those_of_the_pixels() -> None:
    assert mean_and_deviation(np.bincount([0, 10, 20, 30])) == pytest.approx((15.0, np.sqrt(125)))
    assert mean_and_deviation(np.zeros(256, np.int64)) == (0.0, 0.0)


def test_the_mean_and_the_deviation_are_exact() -> None:
    """Sums of floating-point numbers are rounded for these counts, and sums of int64 are too large."""
    counts = np.bincount([65534, 65535, 65535]) * 3**25
    exact = float(Fraction(2 * 65535 + 65534, 3)), math.sqrt(Fraction(2, 9))
    assert mean_and_deviation(counts) == exact
    assert np.average(np.arange(65536), weights=counts) != exact[0]
