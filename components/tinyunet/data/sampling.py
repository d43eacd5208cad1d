"""The order of the images in the batches, as a function of seed and position only."""

import numpy as np
from numpy.typing import NDArray

DEFECTIVE, CLEAN, AUGMENT = 0, 1, 2  # streams of random numbers


def clean_slots(count: int, fraction: float) -> NDArray[np.bool_]:
    """Return which positions of a global batch hold clean images, bool [B]: evenly spread, never all."""
    clean = min(int(count * fraction + 0.5), count - 1)
    ends = (np.arange(count + 1) * clean) // count
    return np.diff(ends) > 0


def order(pool: NDArray[np.int64], seed: int, stream: int, first: int, count: int) -> list[int]:
    """Return items first to first + count - 1 of the endless stream over `pool`, permuted once per epoch."""
    chosen: list[int] = []
    for position in range(first, first + count):
        epoch, index = divmod(position, len(pool))
        if not chosen or index == 0:
            permutation = generator(seed, stream, epoch).permutation(pool)
        chosen.append(int(permutation[index]))
    return chosen


def generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """Return the random generator of one seed, one stream, and one epoch or step of the stream."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, index])))
