"""Inference on a whole split: in batches, averaged over poses, with progress, in constant memory.

The memory depends neither on the number of images nor, where large images are predicted by tiles, on their
height.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tinyunet.core.config import EvalConfig
from tinyunet.core.console import track
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import MASK_LEVEL, Split
from tinyunet.data.records.stored import ImageSequence, StoredImages
from tinyunet.data.resize import Pixels
from tinyunet.engine.overlay import STRIP, reduce_bands, reduce_image, reduction
from tinyunet.model import metrics
from tinyunet.model.poses import average_logits
from tinyunet.model.regions import RegionCounter, Regions
from tinyunet.model.tile_progress import TileProgress
from tinyunet.model.tiles import Logits, RunningScore, predict_images
from tinyunet.model.unet import forward_function

STRIP_PIXELS = 1 << 21  # logits that are counted at a time

IMAGE_SCORES = ("max", "top100", "smoothed")  # the kinds of image score


@dataclass(frozen=True)
class SplitResult:
    """Counts and scores of a model on a split, before a threshold is chosen.

    Attributes:
        split: The images and labels.
        counts: Pixel counts of every image at every threshold.
        scores: float64 [N], image-level scores (logits).
        regions: Regions of the labels and of the predictions.
        rankings: The image-level scores of every kind that was computed, see `EvalConfig.image_score`.
    """

    split: Split
    counts: metrics.Counts
    scores: metrics.Floats
    regions: Regions | None = None
    rankings: Mapping[str, metrics.Floats] = field(default_factory=dict)


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

    def each(self, images: ImageSequence) -> Iterator[Iterable[Logits]]:
        """Yield the logits of every image, float32 [H, W], in bands of rows from top to bottom.

        A batch is predicted when it is needed. The bands of an image must be used before the next image.

        Args:
            images: Images of one size, or each of its own size, of which large ones are predicted by tiles.
        """
        if len(images.shape) > 1:
            for start in range(0, len(images), self._batch_size):
                batch = self.logits(np.asarray(images[start : start + self._batch_size]))
                yield from ([logits] for logits in batch)
            return
        yield from predict_images(
            self.logits,
            images,
            batch_size=self._batch_size,
            progress=lambda image: TileProgress(
                f"an image of {image.shape[1]}×{image.shape[0]}", image.shape
            ),
        )


def evaluate_split(
    predictor: Predictor, split: Split, config: EvalConfig, threshold: float | None = None
) -> SplitResult:
    """Predict all images of a split and compute their pixel counts and image scores.

    The logits of an image, of a large one those of a band of its rows, are discarded after use.

    Args:
        predictor: The model.
        split: The images.
        config: Configuration of the evaluation. With `image_score=auto` all scores are computed, and
            `SplitResult.scores` are the largest logits.
        threshold: Pixel threshold, if it is known already, for the false alarms of `SplitResult.regions`.

    Raises:
        UserError: if a logit is not finite.
    """
    kinds = IMAGE_SCORES if config.image_score == "auto" else (config.image_score,)
    counts, scores, counter = [], [], RegionCounter(threshold)
    maps = track(predictor.each(split.images), f"evaluating {split.name}", total=len(split.images))
    for i, bands in zip(range(len(split.images)), maps, strict=True):
        of_image, of_kinds, top = [], [RunningScore(kind) for kind in kinds], 0
        for logits in _strips(bands):
            if not np.isfinite(logits).all():
                raise UserError(
                    f"the model's logits on {split.names[i]} are not finite; expected numbers: train the "
                    "model again"
                )
            label = label_rows(split, i, slice(top, top + len(logits)))
            of_image.append(metrics.count(logits, label))
            counter.add_band(logits, label)
            for score in of_kinds:
                score.add(logits)
            top += len(logits)
        counter.end_image()
        counts.append(_sum(of_image))
        scores.append([score.value() for score in of_kinds])
    rankings = dict(zip(kinds, np.array(scores).T, strict=True))
    return SplitResult(split, metrics.Counts.stack(counts), rankings[kinds[0]], counter.result(), rankings)


def _strips(bands: Iterable[Logits]) -> Iterator[Logits]:
    """Divide bands of more than STRIP_PIXELS pixels, because counting needs several arrays of their size."""
    for band in bands:
        rows = max(1, STRIP_PIXELS // band.shape[1])
        yield from (band[top : top + rows] for top in range(0, len(band), rows))


def label_rows(split: Split, index: int, rows: slice) -> NDArray[np.bool_]:
    """Return some rows of the label of an image, bool [rows, W]; the other rows are not read."""
    masks = split.masks
    mask = masks.rows(index, rows) if isinstance(masks, StoredImages) else masks[index][rows]
    return np.asarray(mask >= MASK_LEVEL)


def _sum(bands: Sequence[metrics.Counts]) -> metrics.Counts:
    """Return the counts of an image from those of its bands."""
    both = metrics.Counts.stack(bands)
    values = (both.tp, both.fp, both.positives, both.pixels)
    return metrics.Counts(*(value.sum(axis=0, keepdims=True) for value in values))


def reduced(
    predictor: Predictor, split: Split, indices: Sequence[int], side: int
) -> Iterator[tuple[Pixels, NDArray[np.bool_], metrics.Floats]]:
    """Predict some images of a split again, for pictures of at most `side` pixels a side.

    The largest probability and any defective pixel of a block remain visible.

    Yields:
        The image, uint8 or uint16 [h, w] or [h, w, 3]; the label, bool [h, w]; the probability, float64
        [h, w].
    """
    for i, bands in zip(indices, predictor.each(split.images[list(indices)]), strict=True):
        image = split.images[i]
        factor = reduction(image.shape, side)
        labels = (label_rows(split, i, slice(top, top + STRIP)) for top in range(0, len(image), STRIP))
        probability = metrics.sigmoid(reduce_bands(bands, factor))
        yield reduce_image(image, factor), reduce_bands(labels, factor), probability
