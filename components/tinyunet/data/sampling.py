"""Which image stands where in which batch: functions of seed and position alone."""

import numpy as np
from numpy.typing import NDArray

DEFECTIVE, CLEAN, AUGMENT = 0, 1, 2  # streams of random numbers


def clean_slots(count: int, fraction: float) -> NDArray[np.bool_]:
    """Tell which positions of a global batch hold defect-free images: evenly spread, and never all."""
    clean = min(int(count * fraction + 0.5), count - 1)
    ends = (np.arange(count + 1) * clean) // count
    return np.diff(ends) > 0


def order(pool: NDArray[np.int64], seed: int, stream: int, first: int, count: int) -> list[int]:
    """Give positions first to first + count of the endless stream over `pool`, one permutation per epoch."""
    chosen: list[int] = []
    for position in range(first, first + count):
        epoch, index = divmod(position, len(pool))
        if not chosen or index == 0:
            permutation = generator(seed, stream, epoch).permutation(pool)
        chosen.append(int(permutation[index]))
    return chosen


def generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """Give the random numbers that belong to one seed, one stream and one epoch or step of it."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, index])))
