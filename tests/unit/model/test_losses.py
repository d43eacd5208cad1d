"""Losses against numbers worked out by hand and against plain automatic differentiation."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tinyunet.model.losses import LOSSES, Sums, batch_sums, bce_loss, dice_loss, value_and_weights


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


def test_batch_sums_of_four_pixels_by_hand() -> None:
    logits = tf.constant([0.0, 0.0, math.log(3), -math.log(3)], shape=(1, 2, 2, 1))
    targets = tf.constant([1.0, 0.0, 1.0, 0.5], shape=(1, 2, 2, 1))
    # p = .5 .5 .75 .25; BCE = ln2, ln2, -ln.75, -(ln.25 + ln.75)/2
    bce = 2 * math.log(2) - math.log(0.75) - (math.log(0.25) + math.log(0.75)) / 2
    image_dice = (2 * 1.375 + 1) / (2.0 + 2.5 + 1)
    expected = [0.5 + 0.75 + 0.125, 2.0, 2.5, bce, 4.0, image_dice, 1.0]
    np.testing.assert_allclose(batch_sums(logits, targets), expected, rtol=1e-6)


def test_dice_loss_by_hand() -> None:
    # 1 - (2·6 + 1) / (8 + 10 + 1) = 6/19
    assert float(dice_loss(sums(6, 8, 10))) == pytest.approx(6 / 19, rel=1e-6)


def test_dice_loss_of_nothing_predicted_where_nothing_is_is_zero() -> None:
    assert float(dice_loss(sums(0, 0, 0))) == 0.0


def test_bce_is_the_mean_per_pixel() -> None:
    assert float(bce_loss(sums(0, 0, 0, bce=6.0, pixels=4.0))) == 1.5


def test_adaptive_is_dice_below_the_switch_and_bce_from_it_on() -> None:
    below = sums(80, 100, 100, bce=50.0, pixels=100.0)  # D = 1 - 161/201 = .199
    above = sums(60, 100, 100, bce=50.0, pixels=100.0)  # D = 1 - 121/201 = .398
    assert float(LOSSES["adaptive"](below)) == pytest.approx(40 / 201, rel=1e-5)
    assert float(LOSSES["adaptive"](above)) == pytest.approx(0.5)


def test_dice_bce_is_the_sum_of_both() -> None:
    assert float(LOSSES["dice_bce"](sums(6, 8, 10, bce=6.0, pixels=4.0))) == pytest.approx(6 / 19 + 1.5)


def test_image_dice_bce_averages_over_defective_images_only() -> None:
    logits = tf.constant(np.stack([np.full((1, 2, 1), x) for x in (20.0, -20.0)]), tf.float32)
    targets = tf.constant([[[[1.0], [0.0]]], [[[0.0], [0.0]]]])  # the second image is clean and predicted so
    total = Sums(*tf.unstack(batch_sums(logits, targets)))
    assert float(total.defective) == 1.0
    dice = (2 * 1 + 1) / (2 + 1 + 1)
    assert float(LOSSES["image_dice_bce"](total)) == pytest.approx(1 - dice + 20.0 / 4, rel=1e-5)


def test_a_batch_without_defects_has_only_the_bce() -> None:
    assert float(LOSSES["image_dice_bce"](sums(0, 0, 0, bce=2.0, pixels=4.0))) == pytest.approx(1.0 + 0.5)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradient_through_the_sums_equals_direct_differentiation(name: str) -> None:
    rng = np.random.default_rng(0)
    logits = tf.Variable(rng.normal(size=(4, 8, 8, 1)).astype(np.float32))
    targets = tf.constant((rng.random((4, 8, 8, 1)) > 0.7).astype(np.float32))
    with tf.GradientTape() as tape:
        direct_loss = LOSSES[name](Sums(*tf.unstack(batch_sums(logits, targets))))
    direct = tape.gradient(direct_loss, logits)
    with tf.GradientTape() as tape:
        local = batch_sums(logits, targets)
    loss, weights = value_and_weights(name, local)
    through = tape.gradient(local, logits, output_gradients=weights)
    assert float(loss) == pytest.approx(float(direct_loss), rel=1e-6)
    np.testing.assert_allclose(through, direct, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_gradient_is_the_same_however_the_batch_is_split(name: str) -> None:
    rng = np.random.default_rng(1)
    logits = tf.Variable(rng.normal(size=(4, 8, 8, 1)).astype(np.float32))
    targets = tf.constant((rng.random((4, 8, 8, 1)) > 0.7).astype(np.float32))
    _, weights = value_and_weights(name, batch_sums(logits, targets))
    parts = []
    for half in (slice(0, 2), slice(2, 4)):
        with tf.GradientTape() as tape:
            local = batch_sums(logits[half], targets[half])
        parts.append(tf.convert_to_tensor(tape.gradient(local, logits, output_gradients=weights)))
    with tf.GradientTape() as tape:
        whole = batch_sums(logits, targets)
    expected = tape.gradient(whole, logits, output_gradients=weights)
    np.testing.assert_allclose(parts[0] + parts[1], expected, rtol=1e-5, atol=1e-9)


def test_sums_do_not_overflow_at_full_size() -> None:
    ones = tf.ones((16, 512, 512, 1))
    total = batch_sums(ones * 20.0, ones)
    np.testing.assert_allclose(total[2], 16 * 512 * 512)
    assert np.isfinite(total).all()
