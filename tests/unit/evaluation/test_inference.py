"""Logits, counts and scores of a split."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.unit.evaluation.splits import FixedLogits
from tinyunet.core.config import EvalConfig
from tinyunet.core.errors import UserError
from tinyunet.data.dataset import Split, load_split
from tinyunet.evaluation.inference import Predictor, evaluate_split
from tinyunet.model.poses import to_pose


@pytest.fixture(scope="module")
def network(model: Path) -> keras.Model:
    return keras.models.load_model(model / "model.keras", compile=False)


@pytest.fixture(scope="module")
def test_split(records: Path) -> Split:
    return load_split(records, "test", 64)


def test_with_eight_poses_a_rotated_image_has_the_rotated_logits(
    network: keras.Model, test_split: Split
) -> None:
    images = test_split.images[:2]
    one, eight = (Predictor(network, EvalConfig(test_time_poses=n)) for n in (1, 8))  # type: ignore[arg-type]
    rotated = np.asarray(to_pose(images, 5))
    np.testing.assert_allclose(eight.logits(rotated), to_pose(eight.logits(images), 5), rtol=1e-3, atol=1e-3)
    assert abs(one.logits(rotated) - np.asarray(to_pose(one.logits(images), 5))).max() > 1e-2


def test_the_batch_size_does_not_change_the_counts(network: keras.Model, test_split: Split) -> None:
    sixteen, five = (
        evaluate_split(Predictor(network, config), test_split, config).counts
        for config in (EvalConfig(), EvalConfig(batch_size=5))
    )
    assert abs(sixteen.tp - five.tp).max() <= 1  # rounding may move a pixel by a level
    assert (sixteen.positives == five.positives).all()


def test_a_half_covered_pixel_is_defective_by_its_label() -> None:
    masks = np.array([[[128, 127], [0, 255]]], np.uint8)
    split = Split("test", np.zeros_like(masks), masks, np.array([True]), ("a",))
    result = evaluate_split(FixedLogits(np.zeros((1, 2, 2), np.float32)), split, EvalConfig())
    assert result.counts.positives.tolist() == [2]


def test_a_logit_that_is_not_finite_is_refused_with_the_name_of_the_image() -> None:
    masks = np.zeros((1, 2, 2), np.uint8)
    split = Split("test", masks, masks, np.array([False]), ("0007",))
    with pytest.raises(UserError, match="logits on 0007 are not finite; expected numbers: train the model"):
        evaluate_split(FixedLogits(np.full((1, 2, 2), np.nan, np.float32)), split, EvalConfig())
