"""Colours of masks on images."""

import numpy as np

from tinyunet.engine import overlay as o


def test_hits_false_alarms_and_misses_have_their_colours_and_other_pixels_are_grey() -> None:
    label, predicted = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    label[1, 1:3] = True
    predicted[1, 2:4] = True
    canvas = o.draw_comparison(np.full((8, 8), 77, np.uint8), label, predicted)
    assert canvas.dtype == np.uint8
    assert canvas[1, 1].tolist() == list(o.MISSED)
    assert canvas[1, 2].tolist() == list(o.HIT)
    assert canvas[1, 3].tolist() == list(o.FALSE_ALARM)
    assert canvas[5, 5].tolist() == [77, 77, 77]


def test_a_region_is_transparent_and_its_edge_is_not() -> None:
    mask = np.zeros((7, 7), bool)
    mask[1:6, 1:6] = True
    canvas = o.highlight(np.full((7, 7), 100, np.uint8), mask)
    assert canvas[1, 3].tolist() == list(o.HIT)
    assert canvas[3, 3].tolist() == [92, 144, 173]  # .45·100 + .55·(86, 180, 233)


def test_a_region_has_an_edge_at_the_border_of_the_image() -> None:
    canvas = o.highlight(np.full((4, 4), 100, np.uint8), np.ones((4, 4), bool))
    assert canvas[0, 0].tolist() == list(o.HIT)
    assert canvas[1, 1].tolist() != list(o.HIT)


def test_the_colours_also_differ_in_brightness() -> None:
    luma = sorted(0.299 * r + 0.587 * g + 0.114 * b for r, g, b in (o.HIT, o.FALSE_ALARM, o.MISSED))
    assert luma[2] - luma[0] > 10


def test_a_large_image_is_reduced_and_a_single_defective_pixel_stays_visible() -> None:
    mask = np.zeros((40, 2 * o.OVERLAY_SIDE), bool)
    mask[17, 1001] = True
    canvas = o.highlight(np.full((*mask.shape, 1), 1000, np.uint16), mask)
    assert canvas.shape == (20, o.OVERLAY_SIDE, 3)
    assert canvas[8, 500].tolist() == list(o.HIT)
    assert canvas[8, 501].tolist() == [255, 255, 255]
