"""The scores of a pass over the validation split, by hand, and gathered over ranks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tinyunet.core.errors import UserError
from tinyunet.data.dataset import Split
from tinyunet.training.distributed import World
from tinyunet.training.step import validate

# Four images of 2×2 pixels, each of one logit everywhere; the first two are defective in their upper row.
LOGITS = {0: 4.0, 1: -1.0, 2: 2.0, 3: -3.0}
MASKS = np.array([[[255, 255], [0, 0]]] * 2 + [[[0, 0], [0, 0]]] * 2, np.uint8)
IMAGES = np.stack([np.full((2, 2), index, np.uint8) for index in LOGITS])
SPLIT = Split("validation", IMAGES, MASKS, np.array([True, True, False, False]), ("a", "b", "c", "d"))


def forward(images: tf.Tensor) -> tf.Tensor:
    table = tf.constant(list(LOGITS.values()))
    return tf.gather(table, tf.cast(images, tf.int32))[..., None]


@dataclass(frozen=True)
class Half(World):
    """One of two ranks; what the other one has is added by hand."""

    other: Any = None

    def sum(self, tensor: tf.Tensor) -> tf.Tensor:
        return tensor if self.other is None else tensor + self.other


def test_dice_counts_defective_images_and_ap_ranks_all_by_their_largest_logit() -> None:
    scores = validate(forward, SPLIT, World())
    # Image 0: all four pixels are called defective, two are: 2·2 / (4 + 2). Image 1: none is called.
    assert scores.dice == pytest.approx((2 / 3 + 0) / 2)
    # By logit: defective 4, clean 2, defective -1, clean -3: precision 1 and 2/3 where recall grows.
    assert scores.ap == pytest.approx((1 + 2 / 3) / 2)


def test_the_loss_is_the_soft_dice_loss_of_all_images_and_their_mean_cross_entropy() -> None:
    p = 1 / (1 + np.exp(-np.repeat(list(LOGITS.values()), 4)))
    t = MASKS.ravel() / 255
    dice_loss = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    bce = -np.mean(t * np.log(p) + (1 - t) * np.log(1 - p))
    assert validate(forward, SPLIT, World()).loss == pytest.approx(dice_loss + bce, rel=1e-5)


@pytest.mark.parametrize(("logit", "dice"), [(1e-6, 2 * 2 / (4 + 2)), (0.0, 0.0)])
def test_half_a_covered_pixel_counts_and_a_probability_of_one_half_does_not(
    logit: float, dice: float
) -> None:
    masks = np.array([[[128, 255], [127, 0]], [[0, 0], [0, 0]]], np.uint8)
    split = Split("validation", IMAGES[:2], masks, np.array([True, False]), ("a", "b"))
    scores = validate(lambda images: forward(images) * 0.0 + logit, split, World())
    assert scores.dice == pytest.approx(dice)


def test_two_ranks_together_score_as_one() -> None:
    one = validate(forward, SPLIT, World(), batch_size=1)
    seen: list[Any] = []

    @dataclass(frozen=True)
    class Spy(World):
        def sum(self, tensor: tf.Tensor) -> tf.Tensor:
            seen.append(tensor)
            return tensor

    validate(forward, SPLIT, Spy(1, 2))
    both = validate(forward, SPLIT, Half(0, 2, other=seen[0]))
    assert tuple(both) == pytest.approx(tuple(one))


def test_weights_that_are_not_finite_are_one_line() -> None:
    with pytest.raises(UserError, match=r"not finite.*lower learning_rate"):
        validate(lambda images: forward(images) * np.nan, SPLIT, World())
