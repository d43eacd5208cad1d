"""NVIDIA's published scores of every DAGM2007 class, and whether our scores may be compared with them.

Source: README of NVIDIA DeepLearningExamples, TensorFlow/Segmentation/UNet_Industrial, March 2019 to mid 2020
(container 19.03-py3, DGX-1 V100, 2,500 iterations). Each number is a mean over several runs; the README does
not state how many, nor their spread.
"""

from tinyunet.core.categories import DAGM, class_number
from tinyunet.core.documents.evaluation import Published, PublishedScores
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.layouts.dagm import OFFICIAL_COUNTS, OFFICIAL_SIZE

Row = tuple[float, float, float]  # "IoU" (a Dice over all images), TPR %, TNR %
THRESHOLDS = (0.75, 0.85, 0.95, 0.99)

FLOAT32: dict[int, tuple[Row, Row, Row, Row]] = {
    1: ((0.968, 100.0, 97.88), (0.968, 100.0, 97.88), (0.969, 100.0, 97.93), (0.969, 100.0, 97.95)),
    2: ((0.976, 100.0, 99.62), (0.976, 100.0, 99.62), (0.976, 100.0, 99.64), (0.976, 100.0, 99.64)),
    3: ((0.979, 100.0, 99.64), (0.979, 100.0, 99.64), (0.979, 100.0, 99.64), (0.979, 100.0, 99.64)),
    4: ((0.965, 100.0, 97.43), (0.966, 100.0, 97.44), (0.966, 100.0, 97.52), (0.967, 100.0, 97.55)),
    5: ((0.992, 100.0, 99.88), (0.992, 100.0, 99.88), (0.992, 100.0, 99.88), (0.992, 100.0, 99.88)),
    6: ((0.982, 100.0, 98.78), (0.982, 100.0, 98.8), (0.982, 100.0, 98.83), (0.983, 100.0, 98.88)),
    7: ((0.98, 100.0, 99.58), (0.98, 100.0, 99.6), (0.981, 100.0, 99.65), (0.981, 100.0, 99.67)),
    8: ((0.97, 100.0, 99.85), (0.97, 100.0, 99.85), (0.97, 100.0, 99.88), (0.97, 100.0, 99.92)),
    9: ((0.988, 99.82, 99.81), (0.988, 99.82, 99.81), (0.988, 99.82, 99.83), (0.988, 99.82, 99.84)),
    10: ((0.979, 100.0, 99.43), (0.98, 100.0, 99.45), (0.98, 100.0, 99.54), (0.981, 100.0, 99.62)),
}
AMP: dict[int, tuple[Row, Row, Row, Row]] = {
    1: ((0.966, 100.0, 97.55), (0.966, 100.0, 97.56), (0.966, 100.0, 97.58), (0.967, 100.0, 97.66)),
    2: ((0.976, 100.0, 99.66), (0.976, 100.0, 99.66), (0.976, 100.0, 99.66), (0.976, 100.0, 99.71)),
    3: ((0.979, 100.0, 99.63), (0.977, 100.0, 99.33), (0.98, 100.0, 99.64), (0.98, 100.0, 99.66)),
    4: ((0.96, 100.0, 96.85), (0.96, 100.0, 96.85), (0.961, 100.0, 96.88), (0.961, 100.0, 96.89)),
    5: ((0.991, 100.0, 99.78), (0.991, 100.0, 99.78), (0.991, 100.0, 99.78), (0.991, 100.0, 99.78)),
    6: ((0.979, 100.0, 98.39), (0.979, 100.0, 98.41), (0.98, 100.0, 98.58), (0.981, 100.0, 98.65)),
    7: ((0.98, 100.0, 99.56), (0.98, 100.0, 99.58), (0.98, 100.0, 99.59), (0.98, 100.0, 99.62)),
    8: ((0.971, 100.0, 100.0), (0.971, 100.0, 100.0), (0.971, 100.0, 100.0), (0.971, 100.0, 100.0)),
    9: ((0.988, 99.87, 99.81), (0.988, 99.87, 99.81), (0.988, 99.87, 99.82), (0.988, 99.87, 99.82)),
    10: ((0.982, 100.0, 99.7), (0.982, 100.0, 99.71), (0.982, 100.0, 99.72), (0.982, 100.0, 99.78)),
}


def published(class_id: int) -> Published:
    """Return NVIDIA's scores of one class by threshold; rates are fractions.

    NVIDIA did not publish `dice_defective`. It is computed from the other scores, because a clean image has a
    score of either 1 or about 0: Dice = ("IoU" - (1 - p)·TNR) / p, where p is the fraction of defective test
    images. The error is at most 0.004, because the numbers of the table are rounded.
    """
    return Published(
        class_id=class_id,
        thresholds=THRESHOLDS,
        float32=_published_scores(class_id, FLOAT32[class_id]),
        amp=_published_scores(class_id, AMP[class_id]),
    )


def _published_scores(class_id: int, rows: tuple[Row, Row, Row, Row]) -> PublishedScores:
    images, defective = OFFICIAL_COUNTS[class_id]["test"]
    fraction = defective / images
    return PublishedScores(
        iou=tuple(iou for iou, _, _ in rows),
        tpr=tuple(tpr / 100 for _, tpr, _ in rows),
        tnr=tuple(tnr / 100 for _, _, tnr in rows),
        dice_defective=tuple((iou - (1 - fraction) * tnr / 100) / fraction for iou, _, tnr in rows),
    )


def comparability(
    data: RecordsManifest, *, image_size: int, trained_on: str | None, poses: int
) -> tuple[bool, str]:
    """Decide whether our scores may be compared with NVIDIA's.

    Args:
        data: Manifest of the records that the model was evaluated on.
        image_size: Side in pixels at which the masks were compared; 0 for that of the images.
        trained_on: `source_digest` of the model's own training data.
        poses: Number of poses whose logits were averaged.

    Returns:
        The decision, and a sentence with the reasons against it, or with the differences that remain.
    """
    if data.dataset != DAGM:
        return False, f"No published scores exist for {data.title}; compare models on the same images."
    reasons = []
    if data.synthetic:
        reasons.append("the images are synthetic")
    elif not data.complete:
        reasons.append(
            "the images are not the complete official split of this class but a part or a re-split of it"
        )
    if trained_on != data.source_digest:
        reasons.append("the model was trained on another dataset, which may hold these test images")
    compared = image_size or max(data.image_shape)
    if compared != OFFICIAL_SIZE:
        size = f"{OFFICIAL_SIZE}×{OFFICIAL_SIZE}"
        reasons.append(f"masks were compared at {compared}×{compared} pixels instead of {size}")
    if reasons:
        return False, f"Not comparable with NVIDIA's published numbers, because {', and '.join(reasons)}."
    over = f", evaluated with the logits averaged over {poses} poses" if poses > 1 else ""
    return True, (
        f"Comparable with NVIDIA's published numbers for class {class_number(data.category)}: the data are "
        f"the complete official split at {OFFICIAL_SIZE}×{OFFICIAL_SIZE} pixels. NVIDIA's numbers are means "
        f"over several runs on all of Train, ours come from one run that left "
        f"{data.validation_fraction:.0%} of it for validation{over}."
    )
