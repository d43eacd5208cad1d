"""Complete documents for tests, without training a model; fields can be replaced by keyword."""

from typing import Any

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.curves import Curves, DiceCurve, PrCurve, RocCurve
from tinyunet.core.documents.evaluation import (
    Bootstrap,
    ConfusionCounts,
    EvaluatedData,
    EvaluatedModel,
    Evaluation,
    ImageResult,
    Scores,
)
from tinyunet.core.documents.factory import DefectSize, DefectType, Factory, Share
from tinyunet.core.documents.model import ModelData, Normalization, TrainingFigures
from tinyunet.core.documents.raw import SplitCounts
from tinyunet.core.documents.records import RecordsManifest, RecordsSplit, Shard

COUNTS = ConfusionCounts(tp=1, fp=0, fn=0, tn=1)


def records_manifest(**changes: Any) -> RecordsManifest:
    """Return the manifest of official records of class 1 with one shard per split."""
    shard = Shard(file="a.tfrecord", images=2, bytes=1, sha256="0" * 64)
    split = RecordsSplit(images=2, defective=1, digest="d" * 64, shards=(shard,))
    manifest = RecordsManifest(
        category="class1",
        source="dagm.zip",
        complete=True,
        synthetic=False,
        image_shape=(512, 512),
        source_digest="s" * 64,
        digest="r" * 64,
        validation_fraction=0.15,
        fold=0,
        splits={"train": split, "validation": split, "test": split},
    )
    return manifest.model_copy(update=changes)


def evaluated_model(**changes: Any) -> EvaluatedModel:
    """Return the description of a model that was trained on `records_manifest()`."""
    model = EvaluatedModel(
        preset="fast",
        image_size=512,
        category="class1",
        parameters=1850305,
        weights_digest="w" * 64,
        precision="float32",
        world_size=1,
        steps=250,
        seed=0,
        train=TrainConfig(),
        identity={},
        normalization=Normalization(scale=1.0, offset=0.0),
        data=ModelData(
            digest="r" * 64, source="dagm.zip", source_digest="s" * 64, complete=True, synthetic=False
        ),
        training=TrainingFigures(
            images_per_s=1.0, seconds=1.0, final_loss=0.1, validation_dice=0.8, validation_ap=1.0
        ),
        sha256="a" * 64,
    )
    return model.model_copy(update=changes)


def scores(**changes: Any) -> Scores:
    """Return scores; NVIDIA's "IoU" is 0.9 at every threshold."""
    thresholds = ("0.05", "0.125", "0.25", "0.5", "0.75", "0.85", "0.95", "0.99")
    values = Scores(
        dice_defective=0.8,
        iou_defective=0.7,
        pooled_iou=0.6,
        pixel=COUNTS,
        nvidia_iou=dict.fromkeys(thresholds, 0.9),
        nvidia_iou_floor=0.877,
        bootstrap=Bootstrap(dice_defective=(0.7, 0.9)),
        image_ap=1.0,
        image_auroc=1.0,
        tpr=1.0,
        tnr=0.5,
        image_threshold=0.5,
        image=COUNTS,
    )
    return values.model_copy(update=changes)


def share(count: int, of: int) -> Share:
    """Return a share with an interval that is not computed."""
    return Share(count=count, of=of, rate=count / of if of else None, interval=(0.05, 0.95) if of else None)


def factory(**changes: Any) -> Factory:
    """Return a description of 101 parts: one is defective, with a hole and three scratches."""
    values = Factory(
        found=share(3, 4),
        good_parts=100,
        false_alarms=3,
        false_alarms_per_1000=30.0,
        false_alarms_defective=0,
        passed=share(0, 1),
        stopped=share(1, 100),
        types=(DefectType(type="hole", parts=1, passed=0, defects=4, found=3, dice=0.75),),
        sizes=(
            DefectSize(smallest=10, largest=99, defects=3, found=2),
            DefectSize(smallest=100_000, largest=None, defects=1, found=1),
        ),
        unseen_types=(),
    )
    return values.model_copy(update=changes)


def image_result(*, defective: bool, score: float, dice: float | None = None) -> ImageResult:
    """Return the result of one image."""
    return ImageResult(name="0001", defective=defective, score=score, dice=dice, tp=0, fp=0, fn=0)


def evaluation(**changes: Any) -> Evaluation:
    """Return the evaluation of `evaluated_model()` on `records_manifest()`, without curves and images."""
    manifest = records_manifest()
    result = Evaluation(
        model=evaluated_model(),
        data=EvaluatedData(
            digest=manifest.digest,
            source=manifest.source,
            source_digest=manifest.source_digest,
            complete=True,
            synthetic=False,
            category="class1",
            validation_fraction=0.15,
            fold=0,
            shards=1,
            test_digest="d" * 64,
            validation_digest="d" * 64,
            images=2,
            defective=1,
            splits={name: SplitCounts(images=2, defective=1) for name in ("train", "validation", "test")},
        ),
        image_size=512,
        image_score="max",
        threshold=0.5,
        threshold_source="validation",
        threshold_reason="",
        image_threshold_reason="",
        test=scores(),
        validation=scores(),
        nvidia_published=None,
        comparable=True,
        comparability="",
        notes=(),
        curves=Curves(
            pr=PrCurve(precision=(), recall=(), threshold=()),
            roc=RocCurve(fpr=(), tpr=(), threshold=()),
            dice_vs_threshold=DiceCurve(threshold=(), dice=(), iou=()),
        ),
        images=(),
        versions={},
    )
    return result.model_copy(update=changes)
