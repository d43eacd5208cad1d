"""Optimizers and learning-rate schedules by configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from tinyunet.core.config import TrainConfig


class TF1RMSprop(keras.optimizers.RMSprop):  # type: ignore[misc]
    """RMSProp as TensorFlow 1 had it: the second moment starts at one, not at zero.

    For the first 100 to 200 steps that is a hidden warm-up: the update is lr·g/√(0.9 + 0.1·g² − …)
    instead of lr·sign(g)·3.3. Source: tf.compat.v1.train.RMSPropOptimizer.
    """

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the slots and set the second moments to one."""
        super().build(variables)
        for velocity in self._velocities:
            velocity.assign(keras.ops.ones_like(velocity))


def learning_rate(config: TrainConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """Give the learning rate as a function of the step that is about to be taken, from 0."""
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


def averaging(config: TrainConfig) -> float:
    """Give the decay per step whose memory, 1 / (1 - decay), is `ema` times the steps of the run."""
    return max(0.0, 1.0 - 1.0 / (config.ema * config.steps)) if config.ema else 0.0


def build_optimizer(config: TrainConfig, precision: str) -> keras.optimizers.Optimizer:
    """Build the optimizer, under dynamic loss scaling where the precision is mixed_float16."""
    common: dict[str, Any] = {
        "global_clipnorm": config.clip_norm or None,
        "use_ema": config.ema > 0,
        "ema_momentum": averaging(config),
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


def take_averages(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Put the averages in the place of the weights, where they are kept and a step has been taken."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.use_ema and int(optimizer.iterations.numpy()):
        optimizer.finalize_variable_values(model.trainable_variables)


@contextmanager
def averaged_weights(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Let the model have its averaged weights for a while, as at its end; nothing where none are kept."""
    raw = [variable.numpy() for variable in model.trainable_variables]
    take_averages(model, optimizer)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, raw, strict=True):
            variable.assign(value)
