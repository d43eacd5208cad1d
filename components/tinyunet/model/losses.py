"""Losses as functions of sums over the global batch, so that the number of ranks does not change a step.

Every loss is a function of seven sums over the images of a batch. A training step first adds these sums over
its micro-batches and over all ranks. Each rank then propagates the gradient of the loss with respect to the
sums back through its own images. All reductions are float32.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

SMOOTHING = 1.0  # added to the numerator and denominator of the soft Dice (published)
ADAPTIVE_SWITCH = 0.3  # the adaptive loss is Dice below this Dice loss, BCE from it on (published)


class Sums(NamedTuple):
    """The sums over a batch, each a float32 scalar.

    Attributes:
        pt: Σ p·t over pixels.
        p: Σ p.
        t: Σ t.
        bce: Σ binary cross-entropy, nats.
        pixels: Number of pixels.
        image_dice: Σ of the soft Dice of each image that has a defect.
        defective: Number of images that have a defect.
    """

    pt: tf.Tensor
    p: tf.Tensor
    t: tf.Tensor
    bce: tf.Tensor
    pixels: tf.Tensor
    image_dice: tf.Tensor
    defective: tf.Tensor


def batch_sums(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Compute the sums of a batch that every loss needs.

    Args:
        logits: (B, S, S, 1) float32.
        targets: (B, S, S, 1) float32 in 0..1.

    Returns:
        (7,) float32, in the order of `Sums`.
    """
    p = tf.sigmoid(logits)
    bce = tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=logits)
    pt, p, t, bce = (tf.reduce_sum(x, (1, 2, 3)) for x in (p * targets, p, targets, bce))
    defective = tf.cast(t > 0, tf.float32)
    image_dice = defective * (2.0 * pt + SMOOTHING) / (p + t + SMOOTHING)
    pixels = tf.cast(tf.size(logits), tf.float32)
    return tf.stack(
        [*(tf.reduce_sum(x) for x in (pt, p, t, bce)), pixels, *map(tf.reduce_sum, (image_dice, defective))]
    )


def dice_loss(sums: Sums) -> tf.Tensor:
    """Return 1 - (2·Σp·t + 1) / (Σp + Σt + 1), pooled over the global batch (Sørensen-Dice)."""
    return 1.0 - (2.0 * sums.pt + SMOOTHING) / (sums.p + sums.t + SMOOTHING)


def bce_loss(sums: Sums) -> tf.Tensor:
    """Return the mean binary cross-entropy per pixel, in nats."""
    return sums.bce / sums.pixels


def adaptive(sums: Sums) -> tf.Tensor:
    """Return the published loss: the Dice loss where it is below 0.3, otherwise BCE."""
    dice = dice_loss(sums)
    return tf.where(dice < ADAPTIVE_SWITCH, dice, bce_loss(sums))


def dice_bce(sums: Sums) -> tf.Tensor:
    """Return Dice loss + BCE."""
    return dice_loss(sums) + bce_loss(sums)


def image_dice_bce(sums: Sums) -> tf.Tensor:
    """Return 1 - the mean soft Dice of the defective images + BCE over all pixels of all images."""
    return 1.0 - sums.image_dice / tf.maximum(sums.defective, 1.0) + bce_loss(sums)


LOSSES: dict[str, Callable[[Sums], tf.Tensor]] = {
    "adaptive": adaptive,
    "dice_bce": dice_bce,
    "image_dice_bce": image_dice_bce,
}


def loss_and_gradient(name: str, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute a loss and its gradient with respect to the sums.

    Args:
        name: Key of `LOSSES`.
        sums: (7,) float32, the sums of the global batch.

    Returns:
        The loss, a float32 scalar, and the gradient, (7,) float32.
    """
    with tf.GradientTape() as tape:
        tape.watch(sums)
        loss = LOSSES[name](Sums(*tf.unstack(sums)))
    return loss, tape.gradient(loss, sums)
