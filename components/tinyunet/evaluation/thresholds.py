"""The two thresholds, chosen on validation: one for pixels (a probability), one for images (a logit)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyunet.model.metrics import LEVELS, Counts, Floats, dice_curve

PLATEAU = 0.005
"""Dice values within this distance of the best one count as equal: validation has few defective images."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and the reason for it, in words."""

    value: float
    reason: str


def pixel_threshold(counts: Counts, defective: NDArray[np.bool_]) -> Threshold:
    """Return the middle of the widest range of thresholds whose mean Dice is within PLATEAU of the best.

    The maximum itself would be arbitrary: with few images the curve is flat and has many steps.

    One image of two pixels: the probability of the clean pixel is 0.5, that of the defective pixel is 0.881.
    All thresholds from 0.5 to 0.88 separate them:

    >>> from tinyunet.model.metrics import count
    >>> counts = count(logits=[0.0, 2.0], label=[False, True])
    >>> pixel_threshold(counts, np.array([True])).value
    0.69

    Args:
        counts: Pixel counts of all validation images.
        defective: bool [N], whether an image is defective. Only these images are used.

    Returns:
        A probability; 0.5 if no image is defective.
    """
    if not defective.any():
        return Threshold(0.5, "default, because validation holds no defective image")
    curve = dice_curve(counts.select(defective))[1:LEVELS]  # without the thresholds 0 and 1
    start, end = _widest_run(curve >= curve.max() - PLATEAU)
    level = (start + end) // 2 + 1
    return Threshold(
        level / LEVELS,
        f"middle of {(start + 1) / LEVELS:g} to {(end + 1) / LEVELS:g}, where the mean Dice of "
        f"{_count_images(int(defective.sum()))} is within {PLATEAU} of its best "
        f"({curve.max():.3f})",
    )


def image_threshold(scores: Floats, defective: NDArray[np.bool_], pixel: float) -> Threshold:
    """Return the middle between the scores of clean and of defective images.

    If the scores overlap, return the threshold with the best balanced accuracy.

    The largest score of a clean image is -1, the smallest score of a defective image is 5:

    >>> labels = np.array([False, False, True, True])
    >>> image_threshold(np.array([-3.0, -1.0, 5.0, 9.0]), labels, pixel=0.5).value
    2.0

    One clean image, 6, scores above a defective one, 5. The threshold 1, the middle between -3 and 5, flags
    both defective images (rate 1) and passes one of two clean images (rate 1/2), which is the best balanced
    accuracy, 0.75:

    >>> image_threshold(np.array([-3.0, 6.0, 5.0, 9.0]), labels, pixel=0.5)
    Threshold(value=1.0, reason='best balanced accuracy on validation, 0.750: the scores overlap')

    Args:
        scores: float64 [N], logits.
        defective: bool [N].
        pixel: The pixel threshold, a probability. Its logit is returned if all images are defective or all
            are clean.

    Returns:
        A logit.
    """
    if defective.all() or not defective.any():
        missing = "clean" if defective.any() else "defective"
        value = float(np.log(pixel / (1 - pixel)))
        return Threshold(value, f"logit of the pixel threshold, because validation holds no {missing} image")
    largest_clean, smallest_defective = scores[~defective].max(), scores[defective].min()
    if largest_clean < smallest_defective:
        return Threshold(
            float(largest_clean + smallest_defective) / 2,
            f"middle between the largest clean score, {largest_clean:.2f}, and the smallest defective, "
            f"{smallest_defective:.2f}",
        )
    value, accuracy = _best_balanced_accuracy(scores, defective)
    return Threshold(value, f"best balanced accuracy on validation, {accuracy:.3f}: the scores overlap")


def _best_balanced_accuracy(scores: Floats, defective: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the best threshold and its balanced accuracy.

    The candidates are the middles between neighbouring scores. Among equally good ones, the middle of the
    widest gap is chosen.
    """
    levels = np.unique(scores)
    edges = np.concatenate([[levels[0] - 2.0], levels, [levels[-1] + 2.0]])
    middles, gaps = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    above = scores[None, :] > middles[:, None]
    accuracy = (above[:, defective].mean(axis=1) + (~above[:, ~defective]).mean(axis=1)) / 2
    best = max(range(len(middles)), key=lambda i: (round(float(accuracy[i]), 12), gaps[i]))
    return float(middles[best]), float(accuracy[best])


def _widest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the first and the last index of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2] - 1
    widest = int(np.argmax(ends - starts))
    return int(starts[widest]), int(ends[widest])


def _count_images(count: int) -> str:
    return f"{count} defective validation image{'s' if count != 1 else ''}"
