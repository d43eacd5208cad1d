"""The content of metrics.json: both thresholds from validation, scores of both splits, provenance."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tinyunet
from tinyunet.core.config import EvalConfig
from tinyunet.evaluation import curves
from tinyunet.evaluation.inference import Judged
from tinyunet.evaluation.published import comparability, published
from tinyunet.evaluation.thresholds import image_threshold, pixel_threshold
from tinyunet.model import metrics

SCHEMA_VERSION = 1


def summarize(
    identity: Mapping[str, Any],
    manifest: Mapping[str, Any],
    config: EvalConfig,
    *,
    validation: Judged,
    test: Judged,
) -> dict[str, Any]:
    """Put together the content of metrics.json: both thresholds from validation, scores on both splits."""
    pixel = pixel_threshold(validation.counts, validation.split.defective)
    image = image_threshold(validation.scores, validation.split.defective, pixel.value)
    trained_on = identity["data"].get("source_digest")
    comparable, sentence = comparability(
        manifest,
        image_size=identity["image_size"],
        trained_on=trained_on,
        poses=config.test_time_poses,
    )
    return {
        "schema_version": SCHEMA_VERSION,
        "model": dict(identity),
        "data": _data(manifest),
        "image_size": identity["image_size"],
        "test_time_poses": config.test_time_poses,
        "image_score": config.image_score,
        "threshold": pixel.value,
        "threshold_source": "validation",
        "threshold_reason": pixel.reason,
        "image_threshold_reason": image.reason,
        "test": _scores(test, pixel.value, image.value),
        "validation": _scores(validation, pixel.value, image.value),
        "nvidia_published": published(manifest["class_id"]) if comparable else None,
        "comparable": comparable,
        "comparability": sentence,
        "notes": _notes(identity, manifest, test),
        "curves": curves.curve_points(test),
        "images": _images(test, pixel.value),
        "versions": _versions(),
        "evaluated_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _scores(judged: Judged, pixel: float, image: float) -> dict[str, Any]:
    defective = judged.split.defective
    return {
        **metrics.pixel_scores(judged.counts, defective, pixel),
        **metrics.image_scores(judged.scores, defective, image),
    }


def _data(manifest: Mapping[str, Any]) -> dict[str, Any]:
    splits = manifest["splits"]
    keys = (
        "digest",
        "source",
        "source_digest",
        "complete",
        "synthetic",
        "class_id",
        "validation_fraction",
        "fold",
    )
    return {
        **{key: manifest[key] for key in keys},
        "shards": max(len(split["shards"]) for split in splits.values()),
        "test_digest": splits["test"]["digest"],
        "validation_digest": splits["validation"]["digest"],
        "images": splits["test"]["images"],
        "defective": splits["test"]["defective"],
        "splits": {name: {k: split[k] for k in ("images", "defective")} for name, split in splits.items()},
    }


def _notes(identity: Mapping[str, Any], manifest: Mapping[str, Any], test: Judged) -> list[str]:
    notes = []
    if identity["data"]["digest"] != manifest["digest"]:
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
    return notes


def _images(test: Judged, threshold: float) -> list[dict[str, Any]]:
    pixels = test.counts.at(threshold)
    dice = metrics.dice(pixels.tp, pixels.fp, pixels.fn)
    return [
        {
            "name": name,
            "defective": bool(defective),
            "score": float(test.scores[i]),
            "dice": float(dice[i]) if defective else None,
            "tp": int(pixels.tp[i]),
            "fp": int(pixels.fp[i]),
            "fn": int(pixels.fn[i]),
        }
        for i, (name, defective) in enumerate(zip(test.split.names, test.split.defective, strict=True))
    ]


def _versions() -> dict[str, str]:
    return {
        "tinyunet": tinyunet.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
