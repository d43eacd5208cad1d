"""Regions of masks."""

import numpy as np

from tinyunet.engine.regions import Region, find_regions


def test_regions_are_listed_with_their_boxes_and_areas_the_largest_first() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:5, 3:9] = True
    mask[10, 20] = mask[11, 21] = True  # connected by a corner
    mask[0, 29] = True
    assert find_regions(mask) == [
        Region(top=2, left=3, height=3, width=6, area=18),
        Region(top=10, left=20, height=2, width=2, area=2),
        Region(top=0, left=29, height=1, width=1, area=1),
    ]


def test_an_empty_mask_has_no_regions() -> None:
    assert find_regions(np.zeros((4, 4), bool)) == []
