"""One optimizer step on one global batch, and one pass over the validation split."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import average_precision_score

from tinyunet.core.config import TrainConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import MASK_LEVEL, Batch, Split
from tinyunet.model import metrics
from tinyunet.model.losses import Sums, batch_sums, bce_loss, dice_loss, value_and_weights
from tinyunet.model.unet import Forward
from tinyunet.training.distributed import World, threads_per_rank


class StepResult(NamedTuple):
    """Scalars of one step over the global batch, float32 tensors: losses before the update.

    `stopping` is the number of ranks that were asked to stop.
    """

    loss: tf.Tensor
    bce: tf.Tensor
    dice_loss: tf.Tensor
    l2: tf.Tensor
    gradient_norm: tf.Tensor
    learning_rate: tf.Tensor
    stopping: tf.Tensor


class TrainStep:
    """The compiled training step.

    The loss is a function of sums over the global batch: forward on each rank's images, sum over ranks,
    gradient with respect to the sums, backward from there, gradients summed over ranks. So 1×16, 2×8
    and 4×4 (ranks × images) take the same step. With `accumulate` a rank does that for its micro-batches
    one after another: a forward pass for the sums, then one more with its backward pass. A deterministic
    step takes the images one by one, as many at once as it has threads and `accumulate` allows in memory,
    and adds them up in float64. A sum of a few float32 is exact there, or all but: where the batch was cut is
    lost in the rounding to float32; Adam, which divides by a gradient's size, has no last bit to magnify.
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.optimizers.Optimizer, config: TrainConfig, world: World
    ) -> None:
        optimizer.build(model.trainable_variables)
        self._model, self._optimizer, self._config, self._world = model, optimizer, config, world
        self._weights = [v.value for v in model.trainable_variables]
        share, self._exact = config.global_batch // world.size, config.deterministic
        self._micro_batches = share if self._exact else config.accumulate
        self._parallel = min(threads_per_rank(world), share // config.accumulate) if self._exact else 1
        self._dtype = tf.float64 if self._exact else tf.float32  # of sums over images and ranks
        self._run = tf.function(self._step, reduce_retracing=True, autograph=False)

    def __call__(self, batch: Batch, *, stop: bool = False) -> StepResult:
        """Take one step on this rank's slice of the global batch; `stop` tells the other ranks to end."""
        inputs = (batch.images, batch.masks, batch.gain, batch.bias, batch.warps, np.float32(stop))
        result: StepResult = self._run(*map(tf.constant, inputs))
        return result

    def _step(self, *inputs: tf.Tensor) -> StepResult:
        *parts, stop = inputs
        count = self._micro_batches
        in_parts = count > 1 or self._exact  # a share of one image shall have the graph of any other
        if in_parts:
            parts = [tf.reshape(x, [count, -1, *x.shape[1:]]) for x in parts]
            local = self._accumulated_sums(parts)
        else:
            with tf.GradientTape() as tape:
                local = self._sums(*parts)
        mine = tf.cast(tf.concat([local, [tf.cast(stop, local.dtype)]], 0), self._dtype)
        total, stopping = tf.split(tf.cast(self._world.sum(mine), tf.float32), [len(Sums._fields), 1])
        loss, weights = value_and_weights(self._config.loss, total)
        scale = self._loss_scale()
        if in_parts:
            mine = self._accumulated_gradients(parts, weights * scale)
        else:
            mine = tape.gradient(local, self._weights, output_gradients=weights * scale)
        summed = self._world.sum_all(
            [tf.cast(g, self._dtype) for g in mine], compression=self._config.compression
        )
        gradients = [tf.cast(g, tf.float32) for g in summed]
        decay = self._config.weight_decay
        if decay:
            gradients = [g + decay * scale * v for g, v in zip(gradients, self._weights, strict=True)]
        sums = Sums(*tf.unstack(total))
        l2 = decay * tf.add_n([tf.nn.l2_loss(v) for v in self._weights])
        norm = tf.linalg.global_norm(gradients) / scale
        rate = tf.convert_to_tensor(self._optimizer.learning_rate)
        self._optimizer.apply(gradients, self._model.trainable_variables)
        return StepResult(loss + l2, bce_loss(sums), dice_loss(sums), l2, norm, rate, stopping[0])

    def _sums(
        self, images: tf.Tensor, masks: tf.Tensor, gain: tf.Tensor, bias: tf.Tensor, warps: tf.Tensor
    ) -> tf.Tensor:
        both = tf.cast(tf.stack([images, masks], -1), tf.float32)
        if self._config.warped:
            both = warp(both, warps)
        grey = both[..., :1] * gain[:, None, None, None] + bias[:, None, None, None]
        return batch_sums(self._model(grey, training=True), both[..., 1:] / 255.0)

    def _accumulated_sums(self, parts: Sequence[tf.Tensor]) -> tf.Tensor:
        """Sum over micro-batches, the first axis of every part; one per thread of `parallel` is in memory."""
        each = tf.map_fn(
            lambda part: tf.cast(self._sums(*part), self._dtype),
            tuple(parts),
            fn_output_signature=self._dtype,
            parallel_iterations=self._parallel,
        )
        return tf.reduce_sum(each, 0)

    def _accumulated_gradients(self, parts: Sequence[tf.Tensor], weights: tf.Tensor) -> list[tf.Tensor]:
        def add(index: tf.Tensor, *gradients: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape() as tape:
                local = self._sums(*(part[index] for part in parts))
            more = tape.gradient(local, self._weights, output_gradients=weights)
            return (index + 1, *(a + tf.cast(b, a.dtype) for a, b in zip(gradients, more, strict=True)))

        start = (tf.constant(0), *(tf.zeros(v.shape, self._dtype) for v in self._weights))
        _, *gradients = tf.while_loop(
            lambda index, *_: index < self._micro_batches, add, start, parallel_iterations=self._parallel
        )
        return list(gradients)

    def _loss_scale(self) -> tf.Tensor:
        if isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            return tf.convert_to_tensor(self._optimizer.dynamic_scale)
        return tf.constant(1.0)


def warp(images: tf.Tensor, warps: tf.Tensor) -> tf.Tensor:
    """Turn and zoom images, bilinearly; what comes in from outside is the reflection at the border.

    Args:
        images: (B, S, S, C) float32.
        warps: (B, 8) float32, see `augment.warps`.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=warps,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )


class Validation(NamedTuple):
    """Validation scores: soft Dice loss + BCE, mean Dice of defective images at p > 0.5, image-level AP."""

    loss: float
    dice: float
    ap: float


def validate(forward: Forward, split: Split, world: World, *, batch_size: int = 16) -> Validation:
    """Score a split, each rank on its share; sums and image scores are brought together over ranks.

    Args:
        forward: Compiled forward pass.
        split: Images and masks, uint8 (N, S, S).
        world: The ranks; all must call together.
        batch_size: Images per forward pass.
    """
    mine = np.arange(world.rank, len(split.images), world.size)
    sums, dice = np.zeros(len(Sums._fields)), 0.0
    largest = np.zeros(len(split.images))  # logit of each image, zero where it is another rank's
    for start in range(0, len(mine), batch_size):
        index = mine[start : start + batch_size]
        logits = forward(tf.constant(split.images[index]))
        targets = tf.constant(split.masks[index], tf.float32)[..., None] / 255.0
        sums += batch_sums(logits, targets).numpy()
        found, label = logits.numpy()[..., 0] > 0, split.masks[index] >= MASK_LEVEL
        tp, fp, fn = ((a & b).sum((1, 2)) for a, b in ((found, label), (found, ~label), (~found, label)))
        dice += float(metrics.dice(tp, fp, fn)[split.defective[index]].sum())
        largest[index] = logits.numpy().max((1, 2, 3))
    total = world.sum(tf.constant([*sums, dice, *largest], tf.float32)).numpy()
    if not np.isfinite(total).all():
        raise UserError(
            "a validation score is not finite; expected finite weights: lower learning_rate or use "
            "precision=float32"
        )
    values, largest = Sums(*total[: len(sums)]), total[len(sums) + 1 :]
    return Validation(
        loss=float(dice_loss(values) + bce_loss(values)),
        dice=float(total[len(sums)] / max(1, split.defective.sum())),
        ap=float(average_precision_score(split.defective, largest)),
    )
