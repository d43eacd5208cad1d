"""Scores of a model on whole images at their own size, whatever the size that its network takes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.evaluation import EvaluatedModel, Evaluation
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.records.stored import ImageSequence
from tinyunet.data.resize import area_average
from tinyunet.evaluation.evaluate import (
    evaluate_splits,
    fix_image_score,
    read_evaluated_model,
    read_origin,
)
from tinyunet.evaluation.inference import Predictor
from tinyunet.evaluation.results import summarize
from tinyunet.model.tiles import Logits
from tinyunet.model.unet import rebuild
from tinyunet.training.keras_file import for_this_machine, load_model


class EnlargingPredictor(Predictor):
    """Predicts images that are resized to squares, and enlarges the logits to the size of each image."""

    def __init__(self, model: keras.Model, config: EvalConfig, size: int) -> None:
        super().__init__(model, config)
        self._size = size

    def each(self, images: ImageSequence) -> Iterator[Iterable[Logits]]:
        """Yield the logits of every image, one band of float32 [H, W]."""
        for image in images:
            logits = self.logits(area_average(image, self._size)[None])[0]
            yield [tf.image.resize(logits[..., None], image.shape[:2]).numpy()[..., 0]]


def evaluate_whole(predictor: Predictor, document: EvaluatedModel, records: Path) -> Evaluation:
    """Evaluate a model as `tinyunet evaluate` does, on whole images at their own size."""
    manifest = RecordsManifest.read(records)
    config = fix_image_score(EvalConfig(), manifest.dataset)
    validation, test, config = evaluate_splits(predictor, records, 0, config)
    origin = read_origin(records)
    return summarize(document, manifest, config, validation=validation, test=test, source=origin)


def predictor_of(model: Path) -> Predictor:
    """Return the predictor of whole images at their own size of a model folder."""
    network = rebuild(for_this_machine(load_model(model / "model.keras")))
    size = read_evaluated_model(model).image_size
    return EnlargingPredictor(network, EvalConfig(), size) if size else Predictor(network, EvalConfig())


def judge(model: Path, records: Path) -> dict[str, Any]:
    """Return how many defects of Test a model finds, judged at the size of the images."""
    evaluation = evaluate_whole(predictor_of(model), read_evaluated_model(model), records)
    assert evaluation.factory is not None
    factory = evaluation.factory
    return {
        "found": factory.found.count,
        "of": factory.found.of,
        "rate": factory.found.rate,
        "false_alarms_per_1000_good": factory.false_alarms_per_1000,
        "false_alarms_defective": factory.false_alarms_defective,
        "dice_defective": evaluation.test.dice_defective,
        "image_ap": evaluation.test.image_ap,
        "threshold": evaluation.threshold,
    }
