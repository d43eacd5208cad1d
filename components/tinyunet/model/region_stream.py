"""Connected regions of an image whose rows come in bands, so that no whole image has to be in memory."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyunet.model.metrics import LEVELS, Floats, Ints

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


class RegionStream:
    """Numbers the regions of a mask that is given in bands, from top to bottom (8-connectivity).

    The numbers of a band are preliminary: regions of two bands may be connected by a third one.

    Two regions of the first band are joined by the second one; the last pixel is another region:

    >>> stream = RegionStream()
    >>> stream.add(np.array([[1, 0, 0, 1, 0]], bool)).tolist()
    [0, 1]
    >>> stream.add(np.array([[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]], bool)).tolist()
    [2, 2, 3]
    >>> stream.final().tolist()
    [0, 0, 0, 1]

    Attributes:
        count: Number of preliminary regions so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._last: Ints | None = None  # the number in every column of the last row so far; -1 for none
        self._pairs: list[Ints] = []  # [2, p] numbers of regions that touch

    def add(self, band: NDArray[np.bool_]) -> Ints:
        """Return the preliminary numbers of the true pixels of the next rows, row by row; int64 [n].

        Args:
            band: bool [rows, W], at least one row.
        """
        count, numbers = _number(band)
        numbers += self.count
        self.count += count
        first, last = np.full((2, band.shape[1]), -1, np.int64)
        first[band[0]] = numbers[: np.count_nonzero(band[0])]
        last[band[-1]] = numbers[len(numbers) - np.count_nonzero(band[-1]) :]
        if self._last is not None:
            self._pairs += _touching(self._last, first)
        self._last = last
        return numbers

    def final(self) -> Ints:
        """Return the number of the region of every preliminary region, from 0 without gaps; int64 [count]."""
        if not self._pairs:
            return np.arange(self.count)
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        pairs = np.concatenate(self._pairs, axis=1)
        graph = coo_array((np.ones(pairs.shape[1], np.int8), tuple(pairs)), shape=(self.count, self.count))
        return np.asarray(connected_components(graph, directed=False)[1], np.int64)


class ImageRegions:
    """The regions of one image, which is given in bands.

    The memory depends on the number of regions, not on their size: for each one, the pixels are counted at
    every level.
    """

    def __init__(self) -> None:
        self._labelled, self._predicted = RegionStream(), RegionStream()
        self._area: list[Ints] = []  # of the preliminary regions of each band
        self._peak: list[Floats] = []
        self._keys: list[Ints] = []  # region · (LEVELS + 1) + level, where there are pixels
        self._pixels: list[Ints] = []  # number of these pixels
        self._hit: list[Ints] = []  # predicted regions that share a pixel with the label

    def add(self, levels: NDArray[Any], logits: NDArray[np.float32], label: NDArray[np.bool_]) -> None:
        """Take the next rows of the label, with levels and logits of its defective pixels."""
        before = self._labelled.count
        numbers = self._labelled.add(label)
        count = self._labelled.count - before
        peak = np.full(count, -np.inf)
        np.maximum.at(peak, numbers - before, logits)
        keys, pixels = np.unique(numbers * (LEVELS + 1) + levels, return_counts=True)
        self._area.append(np.bincount(numbers - before, minlength=count))
        self._peak.append(peak)
        self._keys.append(keys)
        self._pixels.append(pixels)

    def add_prediction(self, predicted: NDArray[np.bool_], label: NDArray[np.bool_]) -> None:
        """Take the next rows of the prediction."""
        self._hit.append(np.unique(self._predicted.add(predicted)[label[predicted]]))

    def result(self) -> tuple[Ints, Floats, Floats]:
        """Return area and peak of every region, and the sum over the regions of their fractions by level."""
        final = self._labelled.final()
        count = int(final.max()) + 1 if len(final) else 0
        area, peak = np.zeros(count, np.int64), np.full(count, -np.inf)
        np.add.at(area, final, np.concatenate(self._area))
        np.maximum.at(peak, final, np.concatenate(self._peak))
        region, level = np.divmod(np.concatenate(self._keys), LEVELS + 1)
        fractions = np.concatenate(self._pixels) / area[final[region]]
        overlap = np.bincount(level, weights=fractions, minlength=LEVELS + 1)
        return area, peak, overlap.astype(np.float64, copy=False)

    def false_alarms(self) -> int:
        """Return the number of predicted regions that share no pixel with a label."""
        final = self._predicted.final()
        return len(np.unique(final)) - len(np.unique(final[np.concatenate([*self._hit, final[:0]])]))


def _touching(above: Ints, below: Ints) -> list[Ints]:
    """Return the pairs of numbers of two neighbouring rows that touch by a side or a corner."""
    padded, pairs = np.pad(above, 1, constant_values=-1), []
    for shift in range(3):
        upper = padded[shift : shift + len(below)]
        both = (upper >= 0) & (below >= 0)
        if both.any():
            pairs.append(np.unique(np.stack([upper[both], below[both]]), axis=1))
    return pairs


def _number(mask: NDArray[np.bool_]) -> tuple[int, Ints]:
    """Return the number of regions, and for each true pixel, row by row, the number of its region from 0."""
    from scipy import ndimage

    if not mask.any():
        return 0, np.zeros(0, np.int64)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # regions are small parts of an image
    numbers, count = ndimage.label(inner, EIGHT_NEIGHBOURS)
    return int(count), numbers[inner].astype(np.int64) - 1
