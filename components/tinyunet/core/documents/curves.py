"""The points of the curves of an evaluation: the part `curves` of metrics.json."""

from tinyunet.core.documents.base import JsonList, JsonObject


class PrCurve(JsonObject):
    """Points of the precision-recall curve of images; thresholds are logits."""

    precision: JsonList[float]
    recall: JsonList[float]
    threshold: JsonList[float]


class RocCurve(JsonObject):
    """Points of the ROC curve of images; thresholds are logits."""

    fpr: JsonList[float]
    tpr: JsonList[float]
    threshold: JsonList[float]


class DiceCurve(JsonObject):
    """Mean Dice and IoU of the defective images by pixel threshold."""

    threshold: JsonList[float]
    dice: JsonList[float]
    iou: JsonList[float]


class Curves(JsonObject):
    """Points of the three curves; a curve that the images do not define has no points."""

    pr: PrCurve
    roc: RocCurve
    dice_vs_threshold: DiceCurve
