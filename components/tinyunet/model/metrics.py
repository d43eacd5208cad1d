"""Scores of predicted masks and of images, in plain NumPy.

Every pixel score is a function of the counts tp, fp, fn and tn. `count` computes the counts of one image for
all 1,001 thresholds k/1000 in one pass, by a cumulative histogram.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from tinyunet.core.documents.evaluation import Bootstrap, ConfusionCounts, ImageScores, PixelScores

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LEVELS = 1000
"""Thresholds are k / LEVELS; this includes all thresholds that NVIDIA uses."""
NVIDIA_THRESHOLDS = (0.05, 0.125, 0.25, 0.5, 0.75, 0.85, 0.95, 0.99)
NVIDIA_EPSILON = 1e-5
TOP_PIXELS, SMOOTHING_SIDE = 100, 5


@dataclass(frozen=True)
class Confusion:
    """Pixel counts of each image at one threshold, int64 [N] each."""

    tp: Ints
    fp: Ints
    fn: Ints
    tn: Ints

    def total(self) -> dict[str, int]:
        """Return the sums over the images."""
        return {name: int(getattr(self, name).sum()) for name in ("tp", "fp", "fn", "tn")}


@dataclass(frozen=True)
class Counts:
    """Pixel counts of each image at every threshold k / LEVELS.

    Attributes:
        tp: int64 [N, LEVELS + 1], defective pixels whose probability exceeds the threshold.
        fp: int64 [N, LEVELS + 1], clean pixels whose probability exceeds the threshold.
        positives: int64 [N], defective pixels by the label.
        pixels: int64 [N], all pixels.
    """

    tp: Ints
    fp: Ints
    positives: Ints
    pixels: Ints

    @classmethod
    def stack(cls, images: Iterable["Counts"]) -> "Counts":
        """Concatenate the counts of several groups of images."""
        groups = list(images)
        fields = ("tp", "fp", "positives", "pixels")
        return cls(*(np.concatenate([getattr(group, name) for group in groups]) for name in fields))

    def at(self, threshold: float) -> Confusion:
        """Return the counts at one threshold, which is rounded to a multiple of 1 / LEVELS."""
        level = round(threshold * LEVELS)
        tp, fp = self.tp[:, level], self.fp[:, level]
        fn = self.positives - tp
        return Confusion(tp, fp, fn, self.pixels - tp - fp - fn)

    def select(self, images: NDArray[np.bool_]) -> "Counts":
        """Return the counts of a subset of the images."""
        return Counts(self.tp[images], self.fp[images], self.positives[images], self.pixels[images])


def sigmoid(logits: ArrayLike) -> Floats:
    """Return the probabilities of logits, float64, without overflow.

    >>> [float(p) for p in sigmoid([0.0, 1000.0, -1000.0])]
    [0.5, 1.0, 0.0]
    """
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(logits, np.float64))))


def count(logits: ArrayLike, label: ArrayLike) -> Counts:
    """Count the pixels of one image at every threshold.

    Args:
        logits: Any shape.
        label: bool, the same shape; true is defective.

    Four pixels have the probabilities 0.5, 0.88, 0.12 and 0.5. The first two are defective. Both defective
    pixels and the last pixel are above the threshold 0.3:

    >>> count([0.0, 2.0, -2.0, 0.0], [True, True, False, False]).at(0.3).total()
    {'tp': 2, 'fp': 1, 'fn': 0, 'tn': 1}
    """
    truth = np.asarray(label, bool).ravel()
    # p > k/LEVELS exactly where ceil(p·LEVELS) > k
    level = np.ceil(sigmoid(logits).ravel() * LEVELS).astype(np.int64)
    bins = np.bincount(level + (LEVELS + 1) * truth, minlength=2 * (LEVELS + 1)).reshape(2, LEVELS + 1)
    above = bins.sum(axis=1, keepdims=True) - np.cumsum(bins, axis=1)
    return Counts(above[1:], above[:1], np.array([truth.sum()], np.int64), np.array([truth.size], np.int64))


def dice(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Floats:
    """Return the Dice coefficient 2 tp / (2 tp + fp + fn), float64; 1 where both masks are empty.

    >>> float(dice(tp=3, fp=1, fn=1))  # 6 / 8
    0.75
    """
    return _ratio(2 * np.asarray(tp), 2 * np.asarray(tp) + np.asarray(fp) + np.asarray(fn))


def iou(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Floats:
    """Return the intersection over union tp / (tp + fp + fn), float64; 1 where both masks are empty.

    >>> float(iou(tp=3, fp=1, fn=1))  # 3 / 5
    0.6
    """
    return _ratio(np.asarray(tp), np.asarray(tp) + np.asarray(fp) + np.asarray(fn))


def nvidia_iou(counts: Counts, threshold: float) -> float:
    """Return the mean over all images of (2·|A∩B| + ε) / (|A| + |B| + ε): a Dice that NVIDIA calls IoU.

    Source: NVIDIA DeepLearningExamples, TensorFlow/Segmentation/UNet_Industrial, `IoU_THS_x`, ε = 1e-5.

    Of two images with two pixels each, the first has one defective pixel, and both its pixels are predicted:
    2·1 / (1 + 2) = 0.667. The second has no defect and no prediction: ε / ε = 1.

    >>> counts = Counts.stack([count([5.0, 5.0], [True, False]), count([-5.0, -5.0], [False, False])])
    >>> round(nvidia_iou(counts, 0.5), 3)  # (0.667 + 1) / 2
    0.833
    """
    pixels = counts.at(threshold)
    predicted = pixels.tp + pixels.fp
    ratio = (2 * pixels.tp + NVIDIA_EPSILON) / (counts.positives + predicted + NVIDIA_EPSILON)
    return float(ratio.mean())


def nvidia_iou_floor(counts: Counts) -> float:
    """Return `nvidia_iou` of a model that predicts nothing: about the fraction of clean images."""
    return float((NVIDIA_EPSILON / (counts.positives + NVIDIA_EPSILON)).mean())


def image_score(logits: NDArray[Any], kind: str) -> Floats:
    """Return image-level scores from logits.

    Probabilities would saturate at 1, and images with equal scores cannot be ranked.

    Args:
        logits: float [N, S, S] or [N, S, S, 1].
        kind: `max`, the largest logit; `top100`, the mean of the 100 largest logits; or `smoothed`, the
            largest mean of 5×5 neighbouring logits.

    Returns:
        float64 [N].
    """
    if kind == "smoothed":
        means = logits.astype(np.float64)
        for axis in (1, 2):
            means = sliding_window_view(means, SMOOTHING_SIDE, axis=axis).mean(axis=-1)
        return np.asarray(means.reshape(len(logits), -1).max(axis=1))
    flat = logits.reshape(len(logits), -1).astype(np.float64)
    top = 1 if kind == "max" else min(TOP_PIXELS, flat.shape[1])
    return np.asarray(np.partition(flat, -top, axis=1)[:, -top:].mean(axis=1))


def dice_curve(counts: Counts) -> Floats:
    """Return the mean Dice over the images at every threshold, float64 [LEVELS + 1]."""
    return np.asarray(dice(counts.tp, counts.fp, counts.positives[:, None] - counts.tp).mean(axis=0))


def iou_curve(counts: Counts) -> Floats:
    """Return the mean IoU over the images at every threshold, float64 [LEVELS + 1]."""
    return np.asarray(iou(counts.tp, counts.fp, counts.positives[:, None] - counts.tp).mean(axis=0))


def bootstrap(values: ArrayLike, *, draws: int = 2000, seed: int = 0) -> tuple[float, float] | None:
    """Return the 5 % and 95 % quantiles of the mean over resampled images; None without images."""
    sample = np.asarray(values, np.float64)
    if not sample.size:
        return None
    indices = np.random.default_rng(seed).integers(0, sample.size, (draws, sample.size))
    low, high = np.quantile(sample[indices].mean(axis=1), (0.05, 0.95))
    return float(low), float(high)


def pixel_scores(counts: Counts, defective: NDArray[np.bool_], threshold: float) -> PixelScores:
    """Compute the scores of masks at one threshold.

    Args:
        counts: Pixel counts of N images.
        defective: bool [N], whether an image shows a defect.
        threshold: Probability above which a pixel is predicted to be defective.

    Returns:
        The scores; the scores of defective images are None where there are none.
    """
    pixels, of_defective = counts.at(threshold), counts.select(defective).at(threshold)
    per_image = dice(of_defective.tp, of_defective.fp, of_defective.fn)
    total = ConfusionCounts(**pixels.total())
    return PixelScores(
        dice_defective=_mean(per_image),
        iou_defective=_mean(iou(of_defective.tp, of_defective.fp, of_defective.fn)),
        pooled_iou=float(iou(total.tp, total.fp, total.fn)),
        pixel=total,
        nvidia_iou={str(t): nvidia_iou(counts, t) for t in NVIDIA_THRESHOLDS},
        nvidia_iou_floor=nvidia_iou_floor(counts),
        bootstrap=Bootstrap(dice_defective=bootstrap(per_image)),
    )


def image_scores(scores: Floats, defective: NDArray[np.bool_], threshold: float) -> ImageScores:
    """Compute the scores of the classification of images.

    Args:
        scores: float64 [N], image-level scores.
        defective: bool [N], whether an image shows a defect.
        threshold: Score above which an image is classified as defective.

    Returns:
        The scores; one is None where it needs images that are missing, and all are None without clean images.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    flagged = scores > threshold
    both_kinds = bool(defective.any() and not defective.all())
    return ImageScores(
        image_ap=float(average_precision_score(defective, scores)) if both_kinds else None,
        image_auroc=float(roc_auc_score(defective, scores)) if both_kinds else None,
        tpr=None if defective.all() else _mean(flagged[defective]),
        tnr=_mean(~flagged[~defective]),
        image_threshold=threshold,
        image=ConfusionCounts(
            tp=int((flagged & defective).sum()),
            fp=int((flagged & ~defective).sum()),
            fn=int((~flagged & defective).sum()),
            tn=int((~flagged & ~defective).sum()),
        ),
    )


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    return np.where(denominator == 0, 1.0, numerator / np.maximum(denominator, 1))


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean(dtype=np.float64)) if values.size else None
