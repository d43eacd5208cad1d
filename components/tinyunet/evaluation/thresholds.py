"""What is chosen on validation: the kind of image score, and the thresholds of pixels and of images."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.config import EvalConfig
from tinyunet.core.goals import Cost, Target, parse_cost, parse_target
from tinyunet.model.metrics import LEVELS, Counts, Floats, dice_curve, image_scores

PLATEAU = 0.005
"""Dice values within this distance of the best one count as equal: validation has few defective images."""


@dataclass(frozen=True)
class Threshold:
    """A threshold and the reason for it, in words."""

    value: float
    reason: str


def best_image_score(rankings: Mapping[str, Floats], defective: NDArray[np.bool_]) -> str:
    """Return the kind of image score that separates clean and defective images best; the first of equal ones.

    >>> labels = np.array([False, False, True])
    >>> best_image_score({"max": np.array([1, 3, 2]), "smoothed": np.array([0, 1, 2])}, labels)
    'smoothed'

    Args:
        rankings: The scores of every kind, float64 [N].
        defective: bool [N]. If all images are defective or all are clean, the first kind is returned.
    """

    def separated(kind: str) -> float:
        return image_scores(rankings[kind], defective, 0.0).image_auroc or 0.0

    return max(rankings, key=separated)


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


def image_threshold(
    scores: Floats, defective: NDArray[np.bool_], pixel: float, config: EvalConfig | None = None
) -> Threshold:
    """Return the threshold of the configuration's target or cost; without one, see below.

    It is the middle between the scores of clean and of defective images. If the scores overlap, it is the
    threshold with the best balanced accuracy.

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
        config: Configuration with `target` and `cost`.

    Returns:
        A logit.
    """
    goal = config or EvalConfig()
    if defective.all() or not defective.any():
        missing = "clean" if defective.any() else "defective"
        value = float(np.log(pixel / (1 - pixel)))
        return Threshold(value, f"logit of the pixel threshold, because validation holds no {missing} image")
    if goal.target:
        return _reach_target(scores, defective, parse_target(goal.target))
    if goal.cost:
        return _minimize_cost(scores, defective, parse_cost(goal.cost))
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
    """Return the best threshold and its balanced accuracy."""
    candidates = _candidates(scores, defective)
    accuracy = (candidates.tpr + candidates.tnr) / 2
    best = candidates.best(accuracy)
    return float(candidates.value[best]), float(accuracy[best])


def _reach_target(scores: Floats, defective: NDArray[np.bool_], target: Target) -> Threshold:
    """Return the threshold with the largest other rate among those that reach the target.

    There is always one, because the outermost candidates flag all images or none.
    """
    candidates = _candidates(scores, defective)
    reached, other = candidates.tnr, candidates.tpr
    if target.rate == "tpr":
        reached, other = other, reached
    best = candidates.best(np.where(reached >= target.least - 1e-12, other, -1.0))
    kind, judged = ("defective", defective) if target.rate == "tpr" else ("clean", ~defective)
    total = int(judged.sum())
    return Threshold(
        float(candidates.value[best]),
        f"target {target.rate} ≥ {target.least:g}: {_achieved(candidates, best, defective)}; this rests on "
        f"{total} {kind} image{'s' if total != 1 else ''}, and one image changes the rate by {1 / total:.2g}",
    )


def _minimize_cost(scores: Floats, defective: NDArray[np.bool_], cost: Cost) -> Threshold:
    """Return the threshold with the smallest cost per image, with as many defective images as here."""
    candidates = _candidates(scores, defective)
    share = float(defective.mean())
    expected = cost.miss * share * (1 - candidates.tpr) + cost.stop * (1 - share) * (1 - candidates.tnr)
    best = candidates.best(-expected)
    return Threshold(
        float(candidates.value[best]),
        f"smallest cost with {cost.miss:g} per missed and {cost.stop:g} per stopped part, "
        f"{abs(expected[best]):.3g} per image of validation, of which {share:.1%} are defective: "
        f"{_achieved(candidates, best, defective)}",
    )


@dataclass(frozen=True)
class _Candidates:
    """Image thresholds, float64 [T] each: the middles between neighbouring scores, and their results.

    Attributes:
        value: The thresholds.
        gap: Distance between the neighbouring scores.
        tpr: Fraction of the defective images that are flagged.
        tnr: Fraction of the clean images that pass.
    """

    value: Floats
    gap: Floats
    tpr: Floats
    tnr: Floats

    def best(self, quality: Floats) -> int:
        """Return the index of the largest quality; among equal ones that of the widest gap."""
        return max(range(len(quality)), key=lambda i: (round(float(quality[i]), 12), self.gap[i]))


def _candidates(scores: Floats, defective: NDArray[np.bool_]) -> _Candidates:
    levels = np.unique(scores)
    edges = np.concatenate([[levels[0] - 2.0], levels, [levels[-1] + 2.0]])
    middles = (edges[1:] + edges[:-1]) / 2
    above = scores[None, :] > middles[:, None]
    tpr, tnr = above[:, defective].mean(axis=1), (~above[:, ~defective]).mean(axis=1)
    return _Candidates(middles, np.diff(edges), tpr, tnr)


def _achieved(candidates: _Candidates, i: int, defective: NDArray[np.bool_]) -> str:
    """Describe what a candidate achieves on validation."""
    bad, good = int(defective.sum()), int((~defective).sum())
    flagged, passed = round(float(candidates.tpr[i]) * bad), round(float(candidates.tnr[i]) * good)
    return f"on validation {flagged} of {bad} defective images are flagged, {passed} of {good} clean pass"


def _widest_run(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the first and the last index of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2] - 1
    widest = int(np.argmax(ends - starts))
    return int(starts[widest]), int(ends[widest])


def _count_images(count: int) -> str:
    return f"{count} defective validation image{'s' if count != 1 else ''}"
