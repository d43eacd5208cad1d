"""The order of the images in the batches, as a function of seed and position only."""

import numpy as np
from numpy.typing import NDArray

# Streams of random numbers.
DEFECTIVE, CLEAN, AUGMENT = 0, 1, 2
ANYWHERE, POSITION, KNOWN_PIXELS = 3, 4, 5  # of patches only


def clean_slots(count: int, fraction: float) -> NDArray[np.bool_]:
    """Return which positions of a global batch hold clean images; they are evenly spread, and never all.

    Args:
        count: Number B of images in the global batch.
        fraction: Fraction of clean images, 0 to 1.

    Returns:
        bool [B].

    >>> clean_slots(4, 0.5).tolist()
    [False, True, False, True]
    """
    clean = min(int(count * fraction + 0.5), count - 1)
    ends = (np.arange(count + 1) * clean) // count
    return np.diff(ends) > 0


def read_stream(pool: NDArray[np.int64], seed: int, stream: int, first: int, count: int) -> list[int]:
    """Return some items of the endless stream over `pool`, which is permuted once per epoch.

    Args:
        pool: int64 [n], the items of one epoch.
        seed: Seed of the training.
        stream: DEFECTIVE or CLEAN.
        first: Position of the first item, counted from 0 at the beginning of the training.
        count: Number of items.
    """
    items: list[int] = []
    for position in range(first, first + count):
        epoch, index = divmod(position, len(pool))
        if not items or index == 0:
            permutation = generator(seed, stream, epoch).permutation(pool)
        items.append(int(permutation[index]))
    return items


def generator(seed: int, stream: int, index: int) -> np.random.Generator:
    """Return the random generator of one seed, one stream, and one epoch or step of the stream."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, index])))
