"""Optimizers, learning rates and weight decay, compared with independent computations in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.data.augment import warps
from tinyunet.data.dataset import Batch
from tinyunet.model.unet import build_unet
from tinyunet.training.distributed import World
from tinyunet.training.optimizer import averaged_weights, build_optimizer, ema_momentum, learning_rate
from tinyunet.training.step import TrainStep


def test_the_preset_nvidia_has_the_published_values() -> None:
    c = NVIDIA
    assert (c.steps, c.global_batch, c.image_size) == (2500, 16, 512)
    assert (c.learning_rate, c.decay_rate, c.decay_steps, c.schedule) == (1e-4, 0.8, 500, "staircase")
    assert (c.optimizer, c.weight_decay, c.loss) == ("rmsprop_tf1", 1e-5, "adaptive")
    assert (c.clean_fraction, c.poses, c.normalization) == (0.0, "published", "zero_centered")


@pytest.mark.parametrize(("step", "rate"), [(0, 1e-4), (499, 1e-4), (500, 8e-5), (2499, 4.096e-5)])
def test_the_staircase_decreases_by_a_fifth_every_500_steps(step: int, rate: float) -> None:
    assert float(learning_rate(NVIDIA)(step)) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(("steps", "warmup"), [(1000, 20), (5, 4), (1, 0)])
def test_the_cosine_increases_linearly_then_decreases_to_zero_in_every_run(steps: int, warmup: int) -> None:
    rate = learning_rate(FAST.replace({"steps": steps, "learning_rate": 0.1, "warmup_steps": 20}))
    rates = [float(rate(step)) for step in range(steps + 1)]
    assert rates[0] == pytest.approx(0.1 / max(1, warmup))
    assert rates[warmup] == max(rates) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0, abs=1e-8)
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


@pytest.mark.parametrize(("steps", "momentum"), [(1000, 0.99), (250, 0.96), (5, 0.0)])
def test_the_horizon_of_the_averaged_weights_is_a_tenth_of_the_run(steps: int, momentum: float) -> None:
    """1 / (1 - 0.99) is 100, a tenth of 1,000 steps."""
    assert ema_momentum(FAST.replace({"steps": steps})) == pytest.approx(momentum)
    assert ema_momentum(NVIDIA) == 0.0


def test_averaged_weights_are_those_of_the_model_only_inside_the_block() -> None:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    optimizer = build_optimizer(FAST.replace({"steps": 100}), "float32")
    optimizer.build(model.trainable_variables)
    for _ in range(3):
        optimizer.apply([tf.constant([[1.0]])], model.trainable_variables)
    own = model.get_weights()[0]
    with averaged_weights(model, optimizer):
        assert model.get_weights()[0] != own
    assert model.get_weights()[0] == own


def numpy_rmsprop(weights: np.ndarray, gradients: list[np.ndarray], rate: float) -> np.ndarray:
    """Compute the steps of tf.compat.v1.train.RMSPropOptimizer(centered=True) from its formula."""
    mean, square, momentum = np.zeros_like(weights), np.ones_like(weights), np.zeros_like(weights)
    for g in gradients:
        mean = 0.9 * mean + 0.1 * g
        square = 0.9 * square + 0.1 * g * g
        momentum = 0.8 * momentum + rate * g / np.sqrt(square - mean * mean + 1e-10)
        weights = weights - momentum
    return weights


def test_three_rmsprop_steps_equal_the_formula_of_tensorflow_1() -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 3)).astype(np.float32).astype(np.float64)
    gradients = [rng.normal(size=(5, 3)) * scale for scale in (1.0, 1e-3, 10.0)]
    variable = keras.Variable(start.astype(np.float32))
    optimizer = build_optimizer(NVIDIA, "float32")
    optimizer.build([variable])
    for g in gradients:
        optimizer.apply([tf.constant(g, tf.float32)], [variable])
    expected = numpy_rmsprop(start, gradients, 1e-4)
    np.testing.assert_allclose(variable.numpy() - start, expected - start, rtol=1e-3, atol=2e-7)


def test_the_optimizer_of_tensorflow_1_takes_the_same_three_steps() -> None:
    rng = np.random.default_rng(1)
    start = rng.normal(size=(7,)).astype(np.float32)
    gradients = [rng.normal(size=(7,)).astype(np.float32) for _ in range(3)]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        weights = tf.compat.v1.get_variable("w", initializer=start, use_resource=True)
        feed = tf.compat.v1.placeholder(tf.float32, (7,))
        reference = tf.compat.v1.train.RMSPropOptimizer(1e-4, 0.9, 0.8, 1e-10, centered=True)
        apply = reference.apply_gradients([(feed, weights)])
        session.run(tf.compat.v1.global_variables_initializer())
        for g in gradients:
            session.run(apply, {feed: g})
        expected = session.run(weights)
    variable = keras.Variable(start)
    optimizer = build_optimizer(NVIDIA, "float32")
    optimizer.build([variable])
    for g in gradients:
        optimizer.apply([tf.constant(g)], [variable])
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)


def random_batch() -> Batch:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    masks = np.where(rng.random((2, 32, 32)) > 0.8, 255, 0).astype(np.uint8)
    ones = np.ones(2, np.float32)
    return Batch(images, masks, ones, 0 * ones, warps(np.zeros(2), np.ones(2), 32), ("a", "b"))


@pytest.mark.usefixtures("eager")
def test_l2_is_half_the_squared_norm_of_kernels_and_biases_and_part_of_the_loss() -> None:
    model = build_unet(32, seed=1)
    for v in model.trainable_variables:
        if v.name == "bias":
            v.assign(keras.ops.ones_like(v))
    expected = sum(
        1e-5 * 0.5 * float((v.numpy().astype(np.float64) ** 2).sum()) for v in model.trainable_variables
    )
    step = TrainStep(model, build_optimizer(NVIDIA, "float32"), NVIDIA.replace({"image_size": 32}), World())
    result = step(random_batch())
    assert float(result.l2) == pytest.approx(expected, rel=1e-5)
    assert float(result.loss) == pytest.approx(float(result.bce) + expected, rel=1e-5)


@pytest.mark.usefixtures("eager")
def test_weight_decay_is_coupled_to_the_gradient() -> None:
    config = NVIDIA.replace({"image_size": 32})
    model, twin = build_unet(32, seed=1), build_unet(32, seed=1)
    batch = random_batch()
    grey = batch.images.astype(np.float32)[..., None]
    targets = batch.masks.astype(np.float32)[..., None] / 255
    with tf.GradientTape() as tape:
        bce = tf.nn.sigmoid_cross_entropy_with_logits(targets, twin(grey, training=True))
        loss = tf.reduce_mean(bce)
    weights = [v.value for v in twin.trainable_variables]
    gradients = [g.numpy().astype(np.float64) for g in tape.gradient(loss, weights)]
    before = [v.numpy().astype(np.float64) for v in twin.trainable_variables]
    TrainStep(model, build_optimizer(config, "float32"), config, World())(batch)
    for start, g, after in zip(before, gradients, model.trainable_variables, strict=True):
        expected = numpy_rmsprop(start, [g + 1e-5 * start], 1e-4)
        np.testing.assert_allclose(after.numpy(), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_the_averaged_weights_are_in_the_model_inside_the_block_only(
    precision: str, four_images: Batch
) -> None:
    config = FAST.replace({"image_size": 32, "global_batch": 4, "steps": 100, "warmup_steps": 0})
    model = build_unet(32, seed=1, precision=precision)
    optimizer = build_optimizer(config, precision)
    step = TrainStep(model, optimizer, config, World())
    history = []
    for _ in range(3):
        step(four_images)
        history.append(model.get_weights()[0])
    expected = history[0]  # the average begins with the weights of the first step
    for weights in history[1:]:
        expected = 0.9 * expected + 0.1 * weights
    with averaged_weights(model, optimizer):
        np.testing.assert_allclose(model.get_weights()[0], expected, atol=1e-6)
    np.testing.assert_array_equal(model.get_weights()[0], history[-1])
