"""Compute the scores of the validation split during and after a training."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from tinyunet.core.errors import UserError
from tinyunet.data.dataset import MASK_LEVEL, Split
from tinyunet.model import metrics
from tinyunet.model.losses import SMOOTHING, Sums, batch_sums, bce_loss, dice_loss
from tinyunet.model.tiles import predict_images
from tinyunet.model.unet import Forward
from tinyunet.training.distributed import World


class Validation(NamedTuple):
    """Scores of the validation split.

    Attributes:
        loss: Soft Dice loss, pooled over all images, + binary cross-entropy.
        dice: Mean Dice of the defective images at a probability of 0.5.
        ap: Image-level average precision; the score of an image is its largest logit.
    """

    loss: float
    dice: float
    ap: float


def validate(forward: Forward, split: Split, world: World, *, batch_size: int = 16) -> Validation:
    """Return the scores of a split. Each rank evaluates a part of it; all ranks return the same scores.

    Args:
        forward: Compiled forward pass.
        split: Images and masks, resized to one size, or each of its own size.
        world: The ranks; all of them must call this function.
        batch_size: Largest number of images per forward pass.

    Raises:
        UserError: if a score is not finite.
    """
    indices = np.arange(world.rank, len(split.images), world.size)
    score = _score_native if split.native else _score_resized
    sums, dice, own_scores = score(forward, split, indices, batch_size)
    scores = np.zeros(len(split.images))  # zero for the images of other ranks
    scores[indices] = own_scores
    total = world.sum(tf.constant([*sums, dice, *scores], tf.float32)).numpy()
    if not np.isfinite(total).all():
        raise UserError(
            "a validation score is not finite; expected finite weights: lower learning_rate or use "
            "precision=float32"
        )
    values, scores = Sums(*total[: len(sums)]), total[len(sums) + 1 :]
    return Validation(
        loss=float(dice_loss(values) + bce_loss(values)),
        dice=float(total[len(sums)] / max(1, split.defective.sum())),
        ap=float(average_precision_score(split.defective, scores)),
    )


Results = tuple[NDArray[np.float64], float, list[float]]
"""Sums over the images (`losses.Sums`), the sum of the Dice of defective images, and the largest logits."""


def _score_resized(forward: Forward, split: Split, indices: NDArray[np.int64], batch_size: int) -> Results:
    """Score some images of a split of one size."""
    sums, dice, largest_logits = np.zeros(len(Sums._fields)), 0.0, []
    for start in range(0, len(indices), batch_size):
        index = indices[start : start + batch_size]
        logits = forward(tf.constant(split.images[index]))
        targets = tf.constant(split.masks[index], tf.float32)[..., None] / 255.0
        sums += batch_sums(logits, targets).numpy()
        mask, label = logits.numpy()[..., 0] > 0, split.masks[index] >= MASK_LEVEL
        tp, fp, fn = ((a & b).sum((1, 2)) for a, b in ((mask, label), (mask, ~label), (~mask, label)))
        dice += float(metrics.dice(tp, fp, fn)[split.defective[index]].sum())
        largest_logits += logits.numpy().max((1, 2, 3)).tolist()
    return sums, dice, largest_logits


def _score_native(forward: Forward, split: Split, indices: NDArray[np.int64], batch_size: int) -> Results:
    """Score some images of a split whose images have their own sizes."""
    total, dice, largest_logits = np.zeros(len(Sums._fields)), 0.0, []
    images = (split.images[index] for index in indices)
    maps = predict_images(lambda x: forward(tf.constant(x)).numpy()[..., 0], images, batch_size=batch_size)
    for index, bands in zip(indices, maps, strict=True):
        mask, top = split.masks[index], 0
        sums, pixels, largest = np.zeros(len(Sums._fields)), np.zeros(3), -np.inf
        for logits in bands:
            target = mask[top : top + len(logits)]
            top += len(logits)
            sums += batch_sums(logits[None, ..., None], target[None, ..., None] / np.float32(255)).numpy()
            predicted, label = logits > 0, target >= MASK_LEVEL
            pixels += [(predicted & label).sum(), (predicted & ~label).sum(), (~predicted & label).sum()]
            largest = max(largest, float(logits.max()))
        total += _with_image_dice(Sums(*sums))
        dice += float(metrics.dice(*pixels)) if split.defective[index] else 0.0
        largest_logits.append(largest)
    return total, dice, largest_logits


def _with_image_dice(sums: Sums) -> Sums:
    """Return the sums of the bands of one image with the soft Dice of the whole image."""
    if not sums.t:
        return sums._replace(image_dice=0.0, defective=0.0)
    dice = (2.0 * sums.pt + SMOOTHING) / (sums.p + sums.t + SMOOTHING)
    return sums._replace(image_dice=dice, defective=1.0)
