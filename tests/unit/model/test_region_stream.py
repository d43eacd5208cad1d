"""Regions of a mask in bands are those of the whole mask."""

import numpy as np
import pytest
from scipy import ndimage

from tinyunet.model.region_stream import RegionStream


def final_numbers(mask: np.ndarray, rows: int) -> np.ndarray:
    """Return the number of the region of every true pixel of a mask that is given in bands of some rows."""
    stream = RegionStream()
    numbers = [stream.add(mask[top : top + rows]) for top in range(0, len(mask), rows)]
    return stream.final()[np.concatenate(numbers)]


@pytest.mark.parametrize("rows", [1, 2, 7, 40])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_two_pixels_are_of_one_region_exactly_if_they_are_in_the_whole_mask(rows: int, share: float) -> None:
    mask = np.random.default_rng(rows).random((40, 30)) < share
    whole = ndimage.label(mask, np.ones((3, 3)))[0][mask]
    pairs = set(zip(final_numbers(mask, rows).tolist(), whole.tolist(), strict=True))
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs})


def test_a_region_whose_ends_are_joined_only_by_its_last_row_is_one() -> None:
    comb = np.zeros((9, 9), bool)
    comb[:, ::2] = comb[-1] = True
    assert set(final_numbers(comb, 1)) == set(final_numbers(comb, 4)) == {0}


def test_pixels_that_touch_at_a_corner_between_two_bands_are_connected() -> None:
    corner = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]], bool)
    assert final_numbers(corner, 1).tolist() == [0, 0, 1]
    assert final_numbers(np.fliplr(corner), 1).tolist() == [0, 0, 1]


def test_an_empty_mask_has_no_regions() -> None:
    stream = RegionStream()
    assert stream.add(np.zeros((2, 5), bool)).tolist() == stream.final().tolist() == []
