"""Scores of connected regions and of pixels of a whole split, counted image by image.

A region is a set of defective pixels of a label that are connected by sides or corners (8-connectivity). It
is found if at least one of its pixels is predicted. A false alarm is such a region of the prediction that
shares no pixel with a label.

Rankings of pixels (`pixel_ap`, `aupro`) are computed from histograms of the logits at LEVELS + 1 levels, so
that no logits are kept. The levels divide x / (SOFTNESS + |x|) evenly: probabilities would be too coarse,
because almost all clean pixels have a probability below 0.001.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinyunet.model.metrics import LEVELS, Floats, Ints, sigmoid
from tinyunet.model.region_stream import ImageRegions

SOFTNESS = 8.0
"""Logits are 0.016 apart from level to level near 0, and 0.2 near ±20."""
FPR_LIMIT = 0.3
"""Limit of the integration of AUPRO. Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", 2021."""


@dataclass(frozen=True)
class Regions:
    """The regions of the labels of N images, and histograms of the logits of all their pixels.

    Attributes:
        image: int64 [R], index of the image of each region.
        area: int64 [R], pixels of each region.
        peak: float64 [R], largest logit in each region.
        overlap: float64 [LEVELS + 1], mean over the regions of the fraction of a region's pixels at a level.
        defective: int64 [LEVELS + 1], defective pixels of all images at a level.
        clean: int64 [LEVELS + 1], clean pixels of all images at a level.
        false_alarms: int64 [N], false alarms in each image; None without a pixel threshold.
    """

    image: Ints
    area: Ints
    peak: Floats
    overlap: Floats
    defective: Ints
    clean: Ints
    false_alarms: Ints | None

    def found(self, threshold: float) -> NDArray[np.bool_]:
        """Return which regions have a pixel whose probability exceeds the threshold, bool [R]."""
        return sigmoid(self.peak) > threshold


class RegionCounter:
    """Counts the regions of images that are given one after the other, whole or in bands of rows.

    Of two defects in one image, the first has 3 pixels and is predicted in one of them, the second has one
    pixel and is missed. A prediction in the last row is a false alarm:

    >>> label = np.array([[1, 1, 0, 0, 0], [1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    >>> logits = np.full((4, 5), -4.0, np.float32)
    >>> logits[0, 0], logits[3, 2] = 4.0, 2.0
    >>> counter = RegionCounter(threshold=0.5)
    >>> counter.add(logits, label)
    >>> regions = counter.result()
    >>> regions.area.tolist(), regions.found(0.5).tolist(), regions.false_alarms.tolist()
    ([3, 1], [True, False], [1])
    """

    def __init__(self, threshold: float | None = None) -> None:
        """Begin without images.

        Args:
            threshold: Probability above which a pixel is predicted to be defective, for the false alarms.
        """
        self._threshold = threshold
        self._overlap = np.zeros(LEVELS + 1)
        self._defective = np.zeros(LEVELS + 1, np.int64)
        self._all = np.zeros(LEVELS + 1, np.int64)
        self._areas: list[Ints] = []
        self._peaks: list[Floats] = []
        self._false_alarms: list[int] = []
        self._image = ImageRegions()

    def add(self, logits: NDArray[np.float32], label: NDArray[np.bool_]) -> None:
        """Count one image.

        Args:
            logits: float32 [H, W].
            label: bool [H, W]; true is defective.
        """
        self.add_band(logits, label)
        self.end_image()

    def add_band(self, logits: NDArray[np.float32], label: NDArray[np.bool_]) -> None:
        """Count the next rows of an image, from top to bottom; `end_image` follows the last ones.

        Args:
            logits: float32 [rows, W].
            label: bool [rows, W]; true is defective.
        """
        levels = _levels(logits)
        of_defects = levels[label]
        self._all += np.bincount(levels.ravel(), minlength=LEVELS + 1)
        self._defective += np.bincount(of_defects, minlength=LEVELS + 1)
        self._image.add(of_defects, logits[label], label)
        if self._threshold is not None:
            self._image.add_prediction(exceeds(logits, self._threshold), label)

    def end_image(self) -> None:
        """End an image, whose rows have all been counted."""
        area, peak, overlap = self._image.result()
        self._overlap += overlap
        self._areas.append(area)
        self._peaks.append(peak)
        self._false_alarms.append(self._image.false_alarms())
        self._image = ImageRegions()

    def result(self) -> Regions:
        """Return the counts of all images so far."""
        areas = self._areas or [np.zeros(0, np.int64)]
        area, counts = np.concatenate(areas), [len(areas_of_image) for areas_of_image in areas]
        return Regions(
            image=np.repeat(np.arange(len(counts)), counts),
            area=area,
            peak=np.concatenate([*self._peaks, np.zeros(0)]),
            overlap=self._overlap / max(len(area), 1),
            defective=self._defective,
            clean=self._all - self._defective,
            false_alarms=None if self._threshold is None else np.array(self._false_alarms, np.int64),
        )


def exceeds(logits: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Return where `sigmoid(logits)` is larger than a threshold between 0 and 1, bool of the same shape.

    Only the probabilities of logits near the threshold or above it are computed, which takes a tenth of the
    time if few pixels are predicted.
    """
    above = logits > np.log(threshold / (1 - threshold)) - 0.01
    above[above] = sigmoid(logits[above]) > threshold
    return np.asarray(above)


def pixel_ap(regions: Regions) -> float | None:
    """Return the average precision of all pixels of all images; None without a defective pixel.

    It is the sum of precision times increase of recall over falling thresholds, as in scikit-learn. Pixels of
    one level count as if their order were random; the result differs from that of the logits by less than
    0.001.

    The logits of three pixels are 2 (defective), 0 (clean) and -2 (defective): 1/2 · 1/1 + 1/2 · 2/3

    >>> counter = RegionCounter()
    >>> counter.add(np.array([[2.0, 0.0, -2.0]]), np.array([[True, False, True]]))
    >>> round(pixel_ap(counter.result()), 3)
    0.833
    """
    tp, fp = np.cumsum(regions.defective[::-1]), np.cumsum(regions.clean[::-1])
    if not tp[-1]:
        return None
    more, false = regions.defective[::-1], regions.clean[::-1]
    # The pixel in the middle of the `more` defective ones of a level has half of the clean ones before it.
    middle = tp - more + (more + 1) / 2
    precision = middle / (middle + fp - false / 2)
    return float((precision * more).sum() / tp[-1])


def aupro(regions: Regions, limit: float = FPR_LIMIT) -> float | None:
    """Return the area under the curve of per-region overlap against FPR up to `limit`, divided by `limit`.

    The overlap is the predicted fraction of a region, averaged over all regions, so that a small defect
    counts as much as a large one. FPR is the predicted fraction of all clean pixels. Both are points at
    falling thresholds, joined by straight lines from (0, 0). Source: Bergmann et al., 2021, section 5.2.

    Four clean pixels, and regions of one pixel and of two. In falling order of the logits: the single pixel
    (overlap 1/2), a clean pixel (FPR 1/4), the two pixels (overlap 1), the others (FPR 1). Up to 0.25 the
    area is 0.25 · 1/2, and from there to 0.3 it is 0.05 · 1; 0.175 / 0.3 = 0.583

    >>> counter = RegionCounter()
    >>> label = np.array([[True, False, True, True, False, False, False]])
    >>> counter.add(np.array([[9.0, 4.0, 1.0, 1.0, -5.0, -5.0, -5.0]]), label)
    >>> round(aupro(counter.result()), 3)
    0.583

    Returns:
        0 to 1; None without a region or without a clean pixel.
    """
    from sklearn.metrics import auc

    false = np.cumsum(regions.clean[::-1])
    if not len(regions.area) or not false[-1]:
        return None
    fpr = np.concatenate([[0.0], false / false[-1]])
    pro = np.concatenate([[0.0], np.cumsum(regions.overlap[::-1])])
    inside = fpr <= limit
    x, y = np.append(fpr[inside], limit), np.append(pro[inside], np.interp(limit, fpr, pro))
    return float(auc(x, y)) / limit


def _levels(logits: ArrayLike) -> NDArray[Any]:
    """Return the level of each logit, 0 to LEVELS, as integers that can be indices."""
    x = np.asarray(logits, np.float32)
    return np.rint((x / (np.abs(x) + SOFTNESS) + 1) * (LEVELS / 2)).astype(np.intp)
