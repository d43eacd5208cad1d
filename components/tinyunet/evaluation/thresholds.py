"""Thresholds, chosen on validation: one for pixels (a probability), one for images (a logit)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyunet.model.metrics import LEVELS, Counts, Floats, dice_curve

PLATEAU = 0.005
"""Dice values this close to the best count as equal: a few validation images do not tell them apart."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and, in words, where it comes from."""

    value: float
    reason: str


def pixel_threshold(counts: Counts, defective: NDArray[np.bool_]) -> Threshold:
    """Take the middle of the widest range of thresholds whose mean Dice is within PLATEAU of the best.

    The middle is robust where few images make the curve flat and jagged; 0.5 where no image is defective.
    """
    if not defective.any():
        return Threshold(0.5, "default, because validation holds no defective image")
    curve = dice_curve(counts.select(defective))[1:LEVELS]  # 0 and 1 are no thresholds
    start, end = _widest_run(curve >= curve.max() - PLATEAU)
    value = (start + end) // 2 + 1
    return Threshold(
        value / LEVELS,
        f"middle of {(start + 1) / LEVELS:g} to {(end + 1) / LEVELS:g}, where the mean Dice of "
        f"{_images(int(defective.sum()))} is within {PLATEAU} of its best "
        f"({curve.max():.3f})",
    )


def image_threshold(scores: Floats, defective: NDArray[np.bool_], pixel: float) -> Threshold:
    """Take the middle of the gap between clean and defective scores, or else the best balanced accuracy.

    Args:
        scores: float64 [N], logits.
        defective: bool [N].
        pixel: The pixel threshold, a probability; its logit is the choice where one kind of image is missing.
    """
    if defective.all() or not defective.any():
        kind = "clean" if defective.any() else "defective"
        value = float(np.log(pixel / (1 - pixel)))
        return Threshold(value, f"logit of the pixel threshold, because validation holds no {kind} image")
    clean, bad = scores[~defective].max(), scores[defective].min()
    if clean < bad:
        return Threshold(
            float(clean + bad) / 2,
            f"middle between the largest clean score, {clean:.2f}, and the smallest defective, {bad:.2f}",
        )
    value, accuracy = _balanced(scores, defective)
    return Threshold(value, f"best balanced accuracy on validation, {accuracy:.3f}: the scores overlap")


def _balanced(scores: Floats, defective: NDArray[np.bool_]) -> tuple[float, float]:
    """Of the middles between neighbouring scores, give the best one; of equals that of the widest gap."""
    levels = np.unique(scores)
    edges = np.concatenate([[levels[0] - 2.0], levels, [levels[-1] + 2.0]])
    middles, gaps = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    above = scores[None, :] > middles[:, None]
    accuracy = (above[:, defective].mean(axis=1) + (~above[:, ~defective]).mean(axis=1)) / 2
    best = max(range(len(middles)), key=lambda i: (round(float(accuracy[i]), 12), gaps[i]))
    return float(middles[best]), float(accuracy[best])


def _widest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Give the first and last index of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2] - 1
    widest = int(np.argmax(ends - starts))
    return int(starts[widest]), int(ends[widest])


def _images(count: int) -> str:
    return f"{count} defective validation image{'s' if count != 1 else ''}"
