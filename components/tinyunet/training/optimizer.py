"""Optimizers, learning rates and averaged weights, as the training configuration describes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from tinyunet.core.config import TrainConfig


class TF1RMSprop(keras.optimizers.RMSprop):  # type: ignore[misc]
    """RMSProp of TensorFlow 1: the second moment starts at one, not at zero.

    This acts as a warm-up of 100 to 200 steps: the first update is lr·g/√(0.9 + 0.1·g² - …), where a start at
    zero gives lr·sign(g)·3.3. Source: tf.compat.v1.train.RMSPropOptimizer.
    """

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the slot variables and set the second moments to one."""
        super().build(variables)
        for velocity in self._velocities:
            velocity.assign(keras.ops.ones_like(velocity))


def learning_rate(config: TrainConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return the learning rate as a function of the number of steps already taken."""
    if config.schedule == "staircase":
        return keras.optimizers.schedules.ExponentialDecay(
            config.learning_rate, config.decay_steps, config.decay_rate, staircase=True
        )
    warmup = min(config.warmup_steps, config.steps - 1)
    return keras.optimizers.schedules.CosineDecay(
        config.learning_rate / max(1, warmup) if warmup else config.learning_rate,
        decay_steps=config.steps - warmup,
        warmup_target=config.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def ema_momentum(config: TrainConfig) -> float:
    """Return the momentum of the exponential moving average of the weights, from 0 to less than 1.

    Its horizon, 1 / (1 - momentum) steps, is the fraction `ema` of the run.
    """
    return max(0.0, 1.0 - 1.0 / (config.ema * config.steps)) if config.ema else 0.0


def build_optimizer(config: TrainConfig, precision: str) -> keras.optimizers.Optimizer:
    """Return the optimizer; `mixed_float16` wraps it in dynamic loss scaling."""
    common: dict[str, Any] = {
        "global_clipnorm": config.clip_norm or None,
        "use_ema": config.ema > 0,
        "ema_momentum": ema_momentum(config),
    }
    rate = learning_rate(config)
    optimizer: keras.optimizers.Optimizer
    if config.optimizer == "rmsprop_tf1":
        optimizer = TF1RMSprop(rate, rho=0.9, momentum=0.8, epsilon=1e-10, centered=True, **common)
    else:
        optimizer = keras.optimizers.Adam(rate, **common)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def assign_averaged_weights(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Replace the weights by their averages; without averaging, or before the first step, do nothing."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.use_ema and int(optimizer.iterations.numpy()):
        optimizer.finalize_variable_values(model.trainable_variables)


@contextmanager
def averaged_weights(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Assign the averaged weights to the model inside the block; restore its own weights after it."""
    own_weights = [variable.numpy() for variable in model.trainable_variables]
    assign_averaged_weights(model, optimizer)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, own_weights, strict=True):
            variable.assign(value)
