"""The comparison of several categories: comparison.json in the folder that `compare` writes."""

from tinyunet.core.documents.base import DataIdentity, JsonList, JsonObject


class NvidiaScores(JsonObject):
    """NVIDIA's three scores at one threshold; None where the images do not define a score.

    Attributes:
        iou: Mean Dice over all test images, which NVIDIA calls IoU.
        tpr: Fraction of the defective images with a pixel above the threshold.
        tnr: Fraction of the clean images without a pixel above the threshold.
    """

    iou: float | None
    tpr: float | None
    tnr: float | None


class ComparedCategory(DataIdentity):
    """One category; NVIDIA's scores are None except for DAGM2007.

    Attributes:
        data: `official`, `part or re-split`, `synthetic`, or `own` for another data set.
        image_size: Side in pixels at which masks were compared.
        comparable: Whether the scores may be compared with NVIDIA's.
        ours: Our scores at our own thresholds, which were chosen on validation.
        floor: NVIDIA's IoU of a model that predicts nothing.
        at: Our scores at NVIDIA's thresholds.
        float32: NVIDIA's scores by threshold, trained in float32.
        amp: NVIDIA's scores by threshold, trained in mixed precision.
        dice: NVIDIA's implied Dice of defective images at 0.99: float32, mixed precision.
    """

    data: str
    image_size: int
    comparable: bool
    ours: dict[str, float | None]
    floor: float
    at: dict[float, NvidiaScores]
    float32: dict[float, NvidiaScores] | None = None
    amp: dict[float, NvidiaScores] | None = None
    dice: tuple[float, float] | None = None


class Comparison(JsonObject):
    """The whole file.

    Attributes:
        rows: The categories in ascending order.
        means: Our scores, averaged over the categories; None where a class has no score.
        notice: Which rows may be compared with NVIDIA's, and why the others may not.
    """

    rows: JsonList[ComparedCategory]
    means: dict[str, float | None]
    notice: str
