"""The generated image of a model's self-check."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def texture(height: int, width: int, channels: int, bits: int, seed: int) -> NDArray[Any]:
    """Return noise around the middle grey.

    The raw numbers of a bit generator are used, because NumPy guarantees that they never change; those of its
    distributions may change.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        channels: 1 or 3.
        bits: 8 or 16.
        seed: Seed of the noise.

    Returns:
        uint8 or uint16 [height, width, channels], between a quarter and three quarters of the largest level.
    """
    dtype = np.dtype(f"uint{bits}")
    count = height * width * channels
    raw = np.random.PCG64(seed).random_raw(-(-count * dtype.itemsize // 8)).astype("<u8")
    noise = raw.view(dtype.newbyteorder("<")).astype(dtype)[:count]
    middle = noise // 2 + np.iinfo(dtype).max // 4
    return middle.astype(dtype).reshape(height, width, channels)
