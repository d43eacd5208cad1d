"""Regions of masks."""

import tracemalloc

import numpy as np

from tinyunet.engine.regions import Region, find_regions


def test_regions_are_listed_with_their_boxes_and_areas_the_largest_first() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:5, 3:9] = True
    mask[10, 20] = mask[11, 21] = True  # connected by a corner
    mask[0, 29] = True
    regions = [
        Region(top=2, left=3, height=3, width=6, area=18),
        Region(top=10, left=20, height=2, width=2, area=2),
        Region(top=0, left=29, height=1, width=1, area=1),
    ]
    assert find_regions(mask, limit=5) == (regions, 3)
    assert find_regions(mask, limit=2) == (regions[:2], 3)


def test_the_boxes_of_a_million_regions_are_not_listed() -> None:
    mask = np.zeros((2000, 2000), bool)
    mask[::2, ::2] = True
    mask[0, 0] = False
    mask[100:103, 100:103] = True
    tracemalloc.start()
    regions, count = find_regions(mask, limit=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert regions == [Region(top=100, left=100, height=3, width=3, area=9)]
    assert count == 1000 * 1000 - 1 - 3
    assert peak < 100 * 2**20


def test_an_empty_mask_has_no_regions() -> None:
    assert find_regions(np.zeros((4, 4), bool), limit=5) == ([], 0)
