"""Losses in comparison with numbers computed by hand and with direct automatic differentiation."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tinyunet.model.losses import LOSSES, Sums, batch_sums, bce_loss, dice_loss, loss_and_gradient


def sums(
    pt: float,
    p: float,
    t: float,
    bce: float = 0.0,
    pixels: float = 1.0,
    dice: float = 0.0,
    defective: float = 0.0,
) -> Sums:
    return Sums(*(tf.constant(x, tf.float32) for x in (pt, p, t, bce, pixels, dice, defective)))


def test_the_sums_of_four_pixels_equal_the_sums_computed_by_hand() -> None:
    logits = tf.constant([0.0, 0.0, math.log(3), -math.log(3)], shape=(1, 2, 2, 1))
    targets = tf.constant([1.0, 0.0, 1.0, 0.5], shape=(1, 2, 2, 1))
    # p = .5 .5 .75 .25; BCE = ln2, ln2, -ln.75, -(ln.25 + ln.75)/2
    bce = 2 * math.log(2) - math.log(0.75) - (math.log(0.25) + math.log(0.75)) / 2
    image_dice = (2 * 1.375 + 1) / (2.0 + 2.5 + 1)
    expected = [0.5 + 0.75 + 0.125, 2.0, 2.5, bce, 4.0, image_dice, 1.0]
    np.testing.assert_allclose(batch_sums(logits, targets), expected, rtol=1e-6)


def test_the_dice_loss_equals_the_loss_computed_by_hand() -> None:
    # 1 - (2·6 + 1) / (8 + 10 + 1) = 6/19
    assert float(dice_loss(sums(6, 8, 10))) == pytest.approx(6 / 19, rel=1e-6)


def test_the_dice_loss_is_zero_without_defects_and_predictions() -> None:
    assert float(dice_loss(sums(0, 0, 0))) == 0.0


def test_the_bce_is_the_mean_over_pixels() -> None:
    assert float(bce_loss(sums(0, 0, 0, bce=6.0, pixels=4.0))) == 1.5


def test_the_adaptive_loss_is_dice_below_the_switch_and_bce_above_it() -> None:
    below = sums(80, 100, 100, bce=50.0, pixels=100.0)  # D = 1 - 161/201 = .199
    above = sums(60, 100, 100, bce=50.0, pixels=100.0)  # D = 1 - 121/201 = .398
    assert float(LOSSES["adaptive"](below)) == pytest.approx(40 / 201, rel=1e-5)
    assert float(LOSSES["adaptive"](above)) == pytest.approx(0.5)


def test_dice_bce_is_the_sum_of_both_losses() -> None:
    assert float(LOSSES["dice_bce"](sums(6, 8, 10, bce=6.0, pixels=4.0))) == pytest.approx(6 / 19 + 1.5)


def test_image_dice_bce_averages_over_defective_images_only() -> None:
    logits = tf.constant(np.stack([np.full((1, 2, 1), x) for x in (20.0, -20.0)]), tf.float32)
    targets = tf.constant([[[[1.0], [0.0]]], [[[0.0], [0.0]]]])  # the second is clean, and predicted as clean
    total = Sums(*tf.unstack(batch_sums(logits, targets)))
    assert float(total.defective) == 1.0
    dice = (2 * 1 + 1) / (2 + 1 + 1)
    assert float(LOSSES["image_dice_bce"](total)) == pytest.approx(1 - dice + 20.0 / 4, rel=1e-5)


def test_without_defects_image_dice_bce_is_one_plus_the_bce() -> None:
    assert float(LOSSES["image_dice_bce"](sums(0, 0, 0, bce=2.0, pixels=4.0))) == pytest.approx(1.0 + 0.5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_gradient_by_the_sums_equals_the_direct_gradient(name: str) -> None:
    rng = np.random.default_rng(0)
    logits = tf.Variable(rng.normal(size=(4, 8, 8, 1)).astype(np.float32))
    targets = tf.constant((rng.random((4, 8, 8, 1)) > 0.7).astype(np.float32))
    with tf.GradientTape() as tape:
        direct_loss = LOSSES[name](Sums(*tf.unstack(batch_sums(logits, targets))))
    direct = tape.gradient(direct_loss, logits)
    with tf.GradientTape() as tape:
        sums_of_batch = batch_sums(logits, targets)
    loss, gradient = loss_and_gradient(name, sums_of_batch)
    by_sums = tape.gradient(sums_of_batch, logits, output_gradients=gradient)
    assert float(loss) == pytest.approx(float(direct_loss), rel=1e-6)
    np.testing.assert_allclose(by_sums, direct, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_the_gradient_of_a_batch_is_the_sum_of_the_gradients_of_its_parts(name: str) -> None:
    rng = np.random.default_rng(1)
    logits = tf.Variable(rng.normal(size=(4, 8, 8, 1)).astype(np.float32))
    targets = tf.constant((rng.random((4, 8, 8, 1)) > 0.7).astype(np.float32))
    _, gradient = loss_and_gradient(name, batch_sums(logits, targets))
    gradients = []
    for half in (slice(0, 2), slice(2, 4)):
        with tf.GradientTape() as tape:
            half_sums = batch_sums(logits[half], targets[half])
        gradients.append(tf.convert_to_tensor(tape.gradient(half_sums, logits, output_gradients=gradient)))
    with tf.GradientTape() as tape:
        batch = batch_sums(logits, targets)
    expected = tape.gradient(batch, logits, output_gradients=gradient)
    np.testing.assert_allclose(gradients[0] + gradients[1], expected, rtol=1e-5, atol=1e-9)


def test_sums_of_a_full_batch_do_not_overflow() -> None:
    ones = tf.ones((16, 512, 512, 1))
    total = batch_sums(ones * 20.0, ones)
    np.testing.assert_allclose(total[2], 16 * 512 * 512)
    assert np.isfinite(total).all()
