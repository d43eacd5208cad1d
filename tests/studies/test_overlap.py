"""The study of overlaps sees what an overlap changes, and what it costs."""

import numpy as np
import pytest
from scipy import ndimage

from tests.studies.overlap import computed, predict
from tinyunet.model.tiles import Image, Logits


def neighbourhood(images: Image) -> Logits:
    """A network whose logits depend on 20 pixels in each direction."""
    return np.stack([ndimage.uniform_filter(image.astype(np.float32), 41) for image in images])


def test_tiles_that_overlap_by_twice_the_reach_change_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (160, 112), np.uint8)
    whole = neighbourhood(image[None])[0]
    difference = [np.abs(predict(neighbourhood, image, halo, 112) - whole).max() for halo in (0, 32)]
    assert difference[0] > 1
    assert difference[1] < 1e-3


def test_an_overlap_costs_pixels() -> None:
    assert computed(0) == pytest.approx(1, abs=0.1)
    assert computed(112) == pytest.approx((768 / (768 - 224)) ** 2, rel=0.05)
