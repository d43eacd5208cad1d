"""A batch of four images, and a training step for it."""

import numpy as np
import pytest

from tinyunet.data.augment import warps
from tinyunet.data.dataset import Batch


@pytest.fixture(scope="session")
def four_images() -> Batch:
    """Four images of 32×32 pixels; the first two are defective."""
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8)
    masks = np.zeros_like(images)
    masks[:2, 8:20, 8:20] = 255
    ones = np.ones(4, np.float32)
    return Batch(images, masks, ones, 0 * ones, warps(0 * ones, ones, 32), tuple("abcd"))
