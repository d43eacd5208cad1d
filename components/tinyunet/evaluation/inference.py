"""Inference on a whole split: in batches, averaged over poses, with progress, in constant memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tinyunet.core.config import EvalConfig
from tinyunet.core.console import track
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import MASK_LEVEL, Split
from tinyunet.data.records.stored import ImageSequence
from tinyunet.model import metrics
from tinyunet.model.poses import average_logits
from tinyunet.model.regions import RegionCounter, Regions
from tinyunet.model.tiles import predict_images
from tinyunet.model.unet import forward_function


@dataclass(frozen=True)
class SplitResult:
    """Counts and scores of a model on a split, before a threshold is chosen.

    Attributes:
        split: The images and labels.
        counts: Pixel counts of every image at every threshold.
        scores: float64 [N], image-level scores (logits).
        regions: Regions of the labels and of the predictions.
    """

    split: Split
    counts: metrics.Counts
    scores: metrics.Floats
    regions: Regions | None = None


class Predictor:
    """Computes the logits of images, averaged over the poses of the configuration."""

    def __init__(self, model: keras.Model, config: EvalConfig) -> None:
        self._forward = forward_function(model)
        self._poses = config.test_time_poses
        self._batch_size = config.batch_size

    def logits(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Predict one batch.

        Args:
            images: uint8 or uint16 [b, H, W] or [b, H, W, 3]; H and W are multiples of 16.

        Returns:
            float32 [b, H, W].
        """
        levels = tf.cast(tf.constant(images if images.ndim == 4 else images[..., None]), tf.float32)
        logits: NDArray[np.float32] = average_logits(self._forward, levels, self._poses, keras.ops).numpy()[
            ..., 0
        ]
        return logits

    def each(self, images: ImageSequence) -> Iterator[NDArray[np.float32]]:
        """Yield the logits of every image, float32 [H, W]; a batch is predicted when it is needed.

        Args:
            images: Images of one size, or each of its own size, of which large ones are predicted by tiles.
        """
        if len(images.shape) > 1:
            for start in range(0, len(images), self._batch_size):
                yield from self.logits(np.asarray(images[start : start + self._batch_size]))
            return
        for bands in predict_images(self.logits, images, batch_size=self._batch_size):
            parts = list(bands)
            yield parts[0] if len(parts) == 1 else np.concatenate(parts)


def evaluate_split(
    predictor: Predictor, split: Split, config: EvalConfig, threshold: float | None = None
) -> SplitResult:
    """Predict all images of a split and compute their pixel counts and image scores.

    The logits of an image are discarded after use.

    Args:
        predictor: The model.
        split: The images.
        config: Configuration of the evaluation.
        threshold: Pixel threshold, if it is known already, for the false alarms of `SplitResult.regions`.

    Raises:
        UserError: if a logit is not finite.
    """
    counts, scores, counter = [], [], RegionCounter(threshold)
    maps = track(predictor.each(split.images), f"evaluating {split.name}", total=len(split.images))
    for name, mask, logits in zip(split.names, split.masks, maps, strict=True):
        if not np.isfinite(logits).all():
            raise UserError(
                f"the model's logits on {name} are not finite; expected numbers: train the model again"
            )
        label = mask >= MASK_LEVEL
        counts.append(metrics.count(logits, label))
        counter.add(logits, label)
        scores.append(metrics.image_score(logits[None], config.image_score))
    return SplitResult(split, metrics.Counts.stack(counts), np.concatenate(scores), counter.result())


def probabilities(predictor: Predictor, split: Split, indices: Sequence[int]) -> Iterator[metrics.Floats]:
    """Predict some images of a split again, for pictures: float64 [H, W] each."""
    return (metrics.sigmoid(logits) for logits in predictor.each(split.images[list(indices)]))
