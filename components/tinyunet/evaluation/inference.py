"""Inference on a whole split: in batches, averaged over poses, with progress, in constant memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tinyunet.core.config import EvalConfig
from tinyunet.core.console import track
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import MASK_LEVEL, Split
from tinyunet.model import metrics
from tinyunet.model.poses import average_logits
from tinyunet.model.unet import forward_function


@dataclass(frozen=True)
class SplitResult:
    """Counts and scores of a model on a split, before a threshold is chosen.

    Attributes:
        split: The images and labels.
        counts: Pixel counts of every image at every threshold.
        scores: float64 [N], image-level scores (logits).
    """

    split: Split
    counts: metrics.Counts
    scores: metrics.Floats


class Predictor:
    """Computes the logits of grey images, averaged over the poses of the configuration."""

    def __init__(self, model: keras.Model, config: EvalConfig) -> None:
        self._forward = forward_function(model)
        self._poses = config.test_time_poses
        self._batch_size = config.batch_size

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict one batch.

        Args:
            images: uint8 [b, S, S].

        Returns:
            float32 [b, S, S].
        """
        grey = tf.constant(images[..., None], tf.float32)
        logits: NDArray[np.float32] = average_logits(self._network, grey, self._poses).numpy()[..., 0]
        return logits

    def _network(self, grey: tf.Tensor) -> tf.Tensor:
        return self._forward(grey[..., 0])

    def each(self, images: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
        """Yield the logits of every image, float32 [S, S]; a batch is predicted when it is needed."""
        for start in range(0, len(images), self._batch_size):
            yield from self.logits(images[start : start + self._batch_size])


def evaluate_split(predictor: Predictor, split: Split, config: EvalConfig) -> SplitResult:
    """Predict all images of a split and compute their pixel counts and image scores.

    The logits of an image are discarded after use.

    Raises:
        UserError: if a logit is not finite.
    """
    counts, scores = [], []
    maps = track(predictor.each(split.images), f"evaluating {split.name}", total=len(split.images))
    for name, mask, logits in zip(split.names, split.masks, maps, strict=True):
        if not np.isfinite(logits).all():
            raise UserError(
                f"the model's logits on {name} are not finite; expected numbers: train the model again"
            )
        counts.append(metrics.count(logits, mask >= MASK_LEVEL))
        scores.append(metrics.image_score(logits[None], config.image_score))
    return SplitResult(split, metrics.Counts.stack(counts), np.concatenate(scores))


def probabilities(predictor: Predictor, split: Split, indices: Sequence[int]) -> list[metrics.Floats]:
    """Predict some images of a split again, for pictures: float64 [S, S] each."""
    return [metrics.sigmoid(logits) for logits in predictor.each(split.images[list(indices)])]
