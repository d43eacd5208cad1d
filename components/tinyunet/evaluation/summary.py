"""The few numbers and counts of an evaluation that a terminal or a dashboard shows."""

import math

from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.factory import Factory

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
    values = {**dict(evaluation.test), "threshold": evaluation.threshold, **factory_scalars(evaluation)}
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


def factory_scalars(evaluation: Evaluation) -> dict[str, float]:
    """Return the defined rates of a production line on Test."""
    factory = evaluation.factory
    if factory is None:
        return {}
    values = {
        "defects_found_rate": factory.found.rate,
        "false_alarms_per_1000": factory.false_alarms_per_1000,
    }
    return {name: value for name, value in values.items() if value is not None}


def line_words(factory: Factory) -> str:
    """Return what a model means on a production line in one line, such as the following.

    Found 17 of 18 defects; 3 false alarms per 1,000 good parts; 0 of 14 defective parts passed, 1 of 100 good
    parts stopped.
    """
    words = [f"Found {factory.found.count:,} of {_count(factory.found.of, 'defect')}"]
    if factory.false_alarms_per_1000 is not None:
        rate = factory.false_alarms_per_1000
        number = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        words.append(f"{number} false alarm{'' if number == '1' else 's'} per 1,000 good parts")
    verdicts = []
    if factory.passed is not None and factory.passed.of:
        verdicts.append(f"{factory.passed.count:,} of {_count(factory.passed.of, 'defective part')} passed")
    if factory.stopped is not None:
        verdicts.append(f"{factory.stopped.count:,} of {_count(factory.stopped.of, 'good part')} stopped")
    verdict = ", ".join(verdicts) or "no verdict on parts, because Test has no good part"
    return "; ".join([*words, verdict])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _format(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"
