"""The content of metrics.json as the few numbers, points and counts that a dashboard shows."""

import math
from collections.abc import Mapping
from typing import Any

HEADLINE = {
    "dice_defective": "Dice",
    "iou_defective": "IoU",
    "image_ap": "image AP",
    "image_auroc": "AUROC",
    "tpr": "TPR",
    "tnr": "TNR",
}


def scalars(scores: Mapping[str, Any]) -> dict[str, float]:
    """Give the finite scalar scores on Test, and the threshold that they were taken at."""
    found = {**scores["test"], "threshold": scores["threshold"]}
    return {name: float(v) for name, v in found.items() if isinstance(v, int | float) and math.isfinite(v)}


def confusion_matrix(scores: Mapping[str, Any]) -> list[list[int]]:
    """Give the counts of Test images: rows are the truth, columns the verdict, both (clean, defective)."""
    counts = scores["test"]["image"]
    return [[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]]


def headline(scores: Mapping[str, Any]) -> str:
    """Give the main scores on Test in one line."""
    numbers = [f"{label} {_number(scores['test'][name])}" for name, label in HEADLINE.items()]
    data = scores["data"]
    images = f"{data['images']} images, {data['defective']} defective; Dice and IoU of these"
    return f"{', '.join(numbers)}  ({images})"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
