"""The result of an evaluation: metrics.json in the folder that `evaluate` writes."""

from typing import ClassVar

from pydantic import Field

from tinyunet.core.documents.base import DataIdentity, Document, JsonList, JsonObject, Options
from tinyunet.core.documents.curves import Curves
from tinyunet.core.documents.factory import Factory
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.raw import SplitCounts


class EvaluatedModel(ModelDocument):
    """The model's own description, and the SHA-256 of model.keras."""

    sha256: str = ""


class EvaluatedData(DataIdentity):
    """The records that the model was evaluated on.

    Attributes:
        digest: Digest of the records.
        source: Where the images came from, without credentials.
        options: Options of `ingest` that differ from their defaults, without the category.
        source_digest: Digest of the ingested images.
        complete: Whether the images are the complete official class.
        synthetic: Whether any image was generated.
        pixels: The kinds of the image files and what was done to their pixels, in words; empty if the records
            do not say it.
        masks: The kind of the mask files, in words; empty as above.
        validation_fraction: Fraction of Train that was held out for validation.
        fold: Number of the part of Train that was held out.
        shards: Largest number of files of a split; 0 in files of early versions.
        test_digest: Digest of the test split.
        validation_digest: Digest of the validation split.
        images: Number of test images.
        defective: Number of defective test images.
        splits: Counts of every split.
    """

    digest: str
    source: str
    options: Options = Field(default_factory=dict)
    source_digest: str
    complete: bool
    synthetic: bool
    pixels: JsonList[str] = ()
    masks: str = ""
    validation_fraction: float
    fold: int
    shards: int = 0
    test_digest: str
    validation_digest: str
    images: int
    defective: int
    splits: dict[str, SplitCounts]


class ConfusionCounts(JsonObject):
    """Numbers of true and false positives and negatives."""

    tp: int
    fp: int
    fn: int
    tn: int


class Bootstrap(JsonObject):
    """5 % and 95 % quantiles of a mean over resampled images; None without images."""

    dice_defective: JsonList[float] | None


class PixelScores(JsonObject):
    """Scores of the masks of one split at one threshold; None where the images do not define a score.

    Attributes:
        dice_defective: Mean Dice of the defective images.
        iou_defective: Mean IoU of the defective images.
        pooled_iou: IoU of all pixels of all images together.
        pixel_ap: Average precision of all pixels of all images; None in files of early versions.
        aupro: Area under the curve of per-region overlap up to a false positive rate of 0.3, divided by 0.3;
            None in files of early versions.
        pixel: Pixel counts at the threshold.
        nvidia_iou: NVIDIA's "IoU", by threshold.
        nvidia_iou_floor: NVIDIA's "IoU" of a model that predicts nothing.
        bootstrap: Bootstrap interval of the mean Dice of the defective images.
    """

    dice_defective: float | None
    iou_defective: float | None
    pooled_iou: float
    pixel_ap: float | None = None
    aupro: float | None = None
    pixel: ConfusionCounts
    nvidia_iou: dict[str, float]
    nvidia_iou_floor: float
    bootstrap: Bootstrap


class ImageScores(JsonObject):
    """Scores of the images of one split at one threshold; None where the images do not define a score.

    Attributes:
        image_ap: Image-level average precision.
        image_auroc: Image-level area under the ROC curve.
        tpr: Fraction of the defective images that are flagged.
        tnr: Fraction of the clean images that are not flagged.
        image_threshold: The threshold, a logit.
        image: Image counts at the threshold.
    """

    image_ap: float | None
    image_auroc: float | None
    tpr: float | None
    tnr: float | None
    image_threshold: float
    image: ConfusionCounts


class Scores(ImageScores, PixelScores):
    """All scores of one split at the chosen thresholds; the file contains the pixel scores first."""


class PublishedScores(JsonObject):
    """NVIDIA's scores of one class for one precision of the training: one value per threshold.

    The rates are fractions.
    """

    iou: JsonList[float]
    tpr: JsonList[float]
    tnr: JsonList[float]
    dice_defective: JsonList[float]


class Published(JsonObject):
    """NVIDIA's published scores of one class.

    Attributes:
        class_id: DAGM2007 class.
        thresholds: Thresholds of the scores.
        float32: Scores of the trainings in float32.
        amp: Scores of the trainings in mixed precision.
    """

    class_id: int = Field(validation_alias="class", serialization_alias="class")
    thresholds: JsonList[float]
    float32: PublishedScores
    amp: PublishedScores


class ImageResult(JsonObject):
    """One test image.

    Attributes:
        name: Name of the image.
        defective: Whether the image shows a defect, according to its label.
        score: Image-level score, a logit.
        dice: Dice at the pixel threshold; None for a clean image.
        tp: True positive pixels.
        fp: False positive pixels.
        fn: False negative pixels.
        type: Type of the defect; empty for a clean image, and where the data do not name types.
    """

    name: str
    defective: bool
    score: float
    dice: float | None
    tp: int
    fp: int
    fn: int
    type: str = ""


class Evaluation(Document):
    """Thresholds from validation, scores of both splits, and the origin of the model and of the data.

    Attributes:
        model: The evaluated model.
        data: The records.
        image_size: Side in pixels at which masks were compared.
        test_time_poses: Number of poses whose logits are averaged.
        image_score: `max`, `top100` or `smoothed`.
        threshold: Pixel threshold, a probability.
        threshold_source: The split on which the thresholds were chosen.
        target: Rate that the image threshold had to reach on validation; empty if none was given.
        cost: Costs of both errors for the choice of the image threshold; empty if none were given.
        threshold_reason: Why this pixel threshold was chosen.
        image_threshold_reason: Why this image threshold was chosen.
        test: Scores on Test.
        validation: Scores on validation.
        factory: Test in the words of a production line; None in files of early versions.
        nvidia_published: NVIDIA's scores; None where they are not comparable.
        comparable: Whether the scores may be compared with NVIDIA's.
        comparability: One sentence with the reason for the value of `comparable`.
        notes: Warnings for the reader.
        curves: Points of the curves on Test.
        images: All test images.
        versions: Versions of the software.
        evaluated_at: Time of the evaluation in the format ISO 8601; empty in files of early versions.
    """

    FILE: ClassVar[str] = "metrics.json"
    MADE_BY: ClassVar[str] = "tinyunet evaluate"
    REMEDY: ClassVar[str] = "evaluate the model again"

    model: EvaluatedModel
    data: EvaluatedData
    image_size: int
    test_time_poses: int = 1
    image_score: str
    threshold: float
    threshold_source: str
    target: str = ""
    cost: str = ""
    threshold_reason: str
    image_threshold_reason: str
    test: Scores
    validation: Scores
    factory: Factory | None = None
    nvidia_published: Published | None
    comparable: bool
    comparability: str
    notes: JsonList[str]
    curves: Curves
    images: JsonList[ImageResult]
    versions: dict[str, str]
    evaluated_at: str = ""
