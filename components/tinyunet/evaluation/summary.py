"""The few numbers and counts of an evaluation that a terminal or a dashboard shows."""

import math

from tinyunet.core.documents.evaluation import Evaluation

LABELS = {
    "dice_defective": "Dice",
    "iou_defective": "IoU",
    "image_ap": "image AP",
    "image_auroc": "AUROC",
    "tpr": "TPR",
    "tnr": "TNR",
}


def scalars(evaluation: Evaluation) -> dict[str, float]:
    """Return the pixel threshold and all defined scores on Test that are single numbers."""
    values = {**dict(evaluation.test), "threshold": evaluation.threshold}
    return {name: float(v) for name, v in values.items() if isinstance(v, int | float) and math.isfinite(v)}


def confusion_matrix(evaluation: Evaluation) -> list[list[int]]:
    """Return the counts of test images: rows are the truth, columns the verdict, both (clean, defective)."""
    counts = evaluation.test.image
    return [[counts.tn, counts.fp], [counts.fn, counts.tp]]


def headline(evaluation: Evaluation) -> str:
    """Return the main scores on Test in one line."""
    scores = [f"{label} {_format(getattr(evaluation.test, name))}" for name, label in LABELS.items()]
    data = evaluation.data
    images = f"{data.images} images, {data.defective} defective; Dice and IoU of these"
    return f"{', '.join(scores)}  ({images})"


def _format(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
