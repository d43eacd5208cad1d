"""Run the training step on a global batch."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.data.dataset import Batch
from tinyunet.model.losses import Sums, batch_sums, bce_loss, dice_loss, loss_and_gradient
from tinyunet.training.compile_cache import align_names
from tinyunet.training.distributed import World, threads_per_rank


class StepResult(NamedTuple):
    """Results of one step on the global batch, scalar float32 tensors.

    Attributes:
        loss: Loss including weight decay, before the update of the weights.
        bce: Mean binary cross-entropy per pixel.
        dice_loss: Soft Dice loss, pooled over the batch.
        l2: Part of the loss that is due to weight decay.
        gradient_norm: Global norm of the gradients, before clipping.
        learning_rate: Learning rate of the step.
        stopping: Number of ranks that were requested to stop.
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

    The loss is a function of sums over the global batch. A step has five parts: the forward pass on the
    images of each rank, the reduction of the sums over the ranks, the gradient of the loss with respect to
    the sums, the backward pass from this gradient, and the reduction of the weights' gradients over the
    ranks. The step is therefore the same for 1×16, 2×8 and 4×4 (ranks × images).

    With `accumulate`, a rank processes its micro-batches one after another: first a forward pass for the
    sums, then a second forward pass together with the backward pass.

    A deterministic step processes single images and sums in float64. The number of images that it processes
    in parallel is at most the number of threads, and at most the size of a micro-batch. The float64 sum of a
    few float32 numbers is exact or nearly exact, so the result after rounding to float32 does not depend on
    how the batch is divided. Without this, a difference in the last bit would grow from step to step, because
    Adam divides by the magnitude of the gradient.

    With `jit`, XLA compiles the forward pass of a rank and the backward pass from the sums to the gradients,
    each into one operation of few kernels. Rotations, the reductions over the ranks and the optimizer are not
    compiled. All gradients are then complete at the same time, so their reduction does not overlap with the
    backward pass.

    Args:
        model: The model to train.
        optimizer: Its optimizer.
        config: The training configuration.
        world: The ranks.
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
        compiled = tf.function(self._sums_of_inputs, autograph=False, jit_compile=True)
        self._network_sums = compiled if uses_xla(config) else self._sums_of_inputs
        self._run = tf.function(self._step, reduce_retracing=True, autograph=False)

    def __call__(self, batch: Batch, *, stop: bool = False) -> StepResult:
        """Run one training step.

        Args:
            batch: This rank's slice of the global batch.
            stop: Whether this rank was requested to stop; `StepResult.stopping` reports it to all ranks.
        """
        inputs = (batch.images, batch.masks, batch.gain, batch.bias, batch.warps, np.float32(stop))
        result: StepResult = self._run(*map(tf.constant, inputs))
        return result

    def trace(self, manifest: RecordsManifest) -> None:
        """Trace the step, which takes seconds and needs no images; otherwise, its first call traces it.

        Args:
            manifest: Manifest of the records: the channels and the bits of the images.
        """
        if tf.config.functions_run_eagerly():
            return
        count, side = (
            self._config.global_batch // self._world.size,
            self._config.patch or self._config.image_size,
        )
        masks = (count, side, side)
        images = masks if manifest.channels == 1 else (*masks, manifest.channels)
        levels = tf.uint8 if manifest.bits == 8 else tf.uint16
        arrays = [tf.TensorSpec(images, levels), tf.TensorSpec(masks, tf.uint8)]
        numbers = [tf.TensorSpec(shape, tf.float32) for shape in ([count], [count], [count, 8], [])]
        self._run.get_concrete_function(*arrays, *numbers)

    def _step(self, *inputs: tf.Tensor) -> StepResult:
        if uses_xla(self._config):
            align_names()  # only when the function is traced
        *arrays, stop = inputs
        count = self._micro_batches
        in_parts = count > 1 or self._exact  # a deterministic step uses the same graph for one image, too
        if in_parts:
            arrays = [tf.reshape(x, [count, -1, *x.shape[1:]]) for x in arrays]
            local = self._accumulated_sums(arrays)
        else:
            with tf.GradientTape() as tape:
                local = self._sums(*arrays)
        message = tf.cast(tf.concat([local, [tf.cast(stop, local.dtype)]], 0), self._dtype)
        total, stopping = tf.split(tf.cast(self._world.sum(message), tf.float32), [len(Sums._fields), 1])
        loss, weights = loss_and_gradient(self._config.loss, total)
        scale = self._loss_scale()
        if in_parts:
            gradients = self._accumulated_gradients(arrays, weights * scale)
        else:
            gradients = tape.gradient(local, self._weights, output_gradients=weights * scale)
        summed = self._world.sum_all(
            [tf.cast(g, self._dtype) for g in gradients], compression=self._config.compression
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
        levels = images if images.shape.rank == 4 else images[..., None]
        channels = tf.concat([tf.cast(levels, tf.float32), tf.cast(masks[..., None], tf.float32)], -1)
        if self._config.warped:
            channels = warp(channels, warps)
        grey = channels[..., :-1] * gain[:, None, None, None] + bias[:, None, None, None]
        return self._network_sums(grey, channels[..., -1:] / 255.0)

    def _sums_of_inputs(self, grey: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        return batch_sums(self._model(grey, training=True), targets)

    def _accumulated_sums(self, arrays: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the sums over all micro-batches; at most `_parallel` of them are in memory at a time.

        Args:
            arrays: The arguments of `_sums`, with an additional first axis over the micro-batches.
        """
        each = tf.map_fn(
            lambda part: tf.cast(self._sums(*part), self._dtype),
            tuple(arrays),
            fn_output_signature=self._dtype,
            parallel_iterations=self._parallel,
        )
        return tf.reduce_sum(each, 0)

    def _accumulated_gradients(self, arrays: Sequence[tf.Tensor], weights: tf.Tensor) -> list[tf.Tensor]:
        def add(index: tf.Tensor, *gradients: tf.Tensor) -> tuple[tf.Tensor, ...]:
            with tf.GradientTape() as tape:
                local = self._sums(*(array[index] for array in arrays))
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


def uses_xla(config: TrainConfig) -> bool:
    """Return whether XLA compiles the passes of a rank; see the option `jit`."""
    if config.jit == "auto":
        return not config.deterministic and bool(tf.config.list_physical_devices("GPU"))
    return config.jit == "true"


def warp(images: tf.Tensor, warps: tf.Tensor) -> tf.Tensor:
    """Rotate and zoom images by bilinear interpolation; the border is filled by reflection.

    Args:
        images: (B, S, S, C) float32.
        warps: (B, 8) float32, see `augment.warps`.

    Returns:
        (B, S, S, C) float32.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=warps,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
