"""The content of metrics.json: thresholds from validation, scores of both splits, and provenance."""

import platform
from datetime import UTC, datetime

import keras
import numpy as np
import tensorflow as tf

import tinyunet
from tinyunet.core.categories import class_number
from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.evaluation import (
    EvaluatedData,
    EvaluatedModel,
    Evaluation,
    ImageResult,
    Scores,
)
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.raw import RawManifest, SplitCounts
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.evaluation import curves, factory
from tinyunet.evaluation.inference import SplitResult
from tinyunet.evaluation.published import comparability, published
from tinyunet.evaluation.thresholds import image_threshold, pixel_threshold
from tinyunet.model import metrics, regions


def summarize(
    model: EvaluatedModel,
    manifest: RecordsManifest,
    config: EvalConfig,
    *,
    validation: SplitResult,
    test: SplitResult,
    source: RawManifest | None = None,
) -> Evaluation:
    """Choose both thresholds on validation, compute the scores of both splits, describe model and data.

    `source` describes the images of the records, if that is known.
    """
    pixel = pixel_threshold(validation.counts, validation.split.defective)
    image = image_threshold(validation.scores, validation.split.defective, pixel.value, config)
    comparable, sentence = comparability(
        manifest,
        image_size=model.image_size,
        trained_on=model.data.source_digest,
        poses=config.test_time_poses,
    )
    return Evaluation(
        model=model,
        data=_describe_data(manifest, source),
        image_size=model.image_size,
        test_time_poses=config.test_time_poses,
        image_score=config.image_score,
        threshold=pixel.value,
        threshold_source="validation",
        target=config.target,
        cost=config.cost,
        threshold_reason=pixel.reason,
        image_threshold_reason=image.reason,
        test=_scores(test, pixel.value, image.value),
        validation=_scores(validation, pixel.value, image.value),
        factory=factory.describe(test, manifest, pixel.value, image.value),
        nvidia_published=published(class_number(manifest.category) or 0) if comparable else None,
        comparable=comparable,
        comparability=sentence,
        notes=_notes(model, manifest, test),
        curves=curves.curve_points(test),
        images=_image_results(test, pixel.value),
        versions=_versions(),
        evaluated_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _scores(result: SplitResult, pixel_threshold: float, image_threshold: float) -> Scores:
    defective = result.split.defective
    pixels = metrics.pixel_scores(result.counts, defective, pixel_threshold)
    images = metrics.image_scores(result.scores, defective, image_threshold)
    scores = Scores(**dict(pixels), **dict(images))
    if result.regions is None:
        return scores
    rankings = {"pixel_ap": regions.pixel_ap(result.regions), "aupro": regions.aupro(result.regions)}
    return scores.model_copy(update=rankings)


def _describe_data(manifest: RecordsManifest, source: RawManifest | None) -> EvaluatedData:
    splits = manifest.splits
    return EvaluatedData(
        digest=manifest.digest,
        source=manifest.source,
        options=manifest.options,
        source_digest=manifest.source_digest,
        complete=manifest.complete,
        synthetic=manifest.synthetic,
        pixels=_describe_pixels(source) if source else (),
        masks=source.masks if source else "",
        dataset=manifest.dataset,
        category=manifest.category,
        validation_fraction=manifest.validation_fraction,
        fold=manifest.fold,
        shards=max(len(split.shards) for split in splits.values()),
        test_digest=splits["test"].digest,
        validation_digest=splits["validation"].digest,
        images=splits["test"].images,
        defective=splits["test"].defective,
        splits={
            name: SplitCounts(images=split.images, defective=split.defective)
            for name, split in splits.items()
        },
    )


def _describe_pixels(source: RawManifest) -> tuple[str, ...]:
    """Return the kinds of the image files, and what was done to their pixels, in words."""
    words = list(source.pixels)
    if source.bits == 16:
        words.append("levels {} to {}, stored in 16 bits".format(*source.levels))
    grey = {"grey" in word for word in words if "-bit " in word}
    if source.channels == 1 and False in grey:
        words.append("stored in one channel, the luminance")
    if source.channels == 3 and True in grey:
        words.append("grey is repeated in three channels")
    return tuple(words)


def _notes(model: ModelDocument, manifest: RecordsManifest, test: SplitResult) -> tuple[str, ...]:
    notes = list(manifest.notes)
    if model.data.digest != manifest.digest:
        notes.append(
            "The model was trained on other records than these: "
            "whether it has seen some of the test images is unknown."
        )
    vanished = int((test.split.defective & (test.counts.positives == 0)).sum())
    if vanished:
        notes.append(
            f"The label of {vanished} defective test image{'s' if vanished > 1 else ''} vanishes at this "
            "size; Dice is then 1 where nothing is predicted and 0 elsewhere."
        )
    if test.split.defective.all():
        notes.append(
            "Test has no clean image: there are no scores of images, no verdicts on parts, and no false "
            "alarms per good part."
        )
    return tuple(notes)


def _image_results(test: SplitResult, threshold: float) -> tuple[ImageResult, ...]:
    pixels = test.counts.at(threshold)
    dice = metrics.dice(pixels.tp, pixels.fp, pixels.fn)
    types = factory.image_types(test)
    return tuple(
        ImageResult(
            name=name,
            defective=bool(defective),
            score=float(test.scores[i]),
            dice=float(dice[i]) if defective else None,
            tp=int(pixels.tp[i]),
            fp=int(pixels.fp[i]),
            fn=int(pixels.fn[i]),
            type=types[i] if types else "",
        )
        for i, (name, defective) in enumerate(zip(test.split.names, test.split.defective, strict=True))
    )


def _versions() -> dict[str, str]:
    return {
        "tinyunet": tinyunet.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
