"""NVIDIA's published scores, and the conditions for a comparison with them."""

import pytest

from tests.unit.examples import records_manifest
from tinyunet.evaluation.published import AMP, FLOAT32, comparability, published

# Implied Dice on defective images at 0.75 and 0.99, computed by hand from the rounded tables.
IMPLIED = {1: (0.891, 0.894), 4: (0.896, 0.904), 8: (0.780, 0.775), 10: (0.877, 0.880)}
OFFICIAL = records_manifest(category="class3", source_digest="d")


@pytest.mark.parametrize(("class_id", "expected"), IMPLIED.items())
def test_implied_dice_follows_from_iou_and_tnr(class_id: int, expected: tuple[float, float]) -> None:
    dice = published(class_id).float32.dice_defective
    assert (dice[0], dice[3]) == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize(
    ("table", "column", "mean"), [(FLOAT32, 0, 0.9779), (FLOAT32, 3, 0.9786), (AMP, 3, 0.9777)]
)
def test_tables_have_the_published_means(
    table: dict[int, tuple[tuple[float, ...], ...]], column: int, mean: float
) -> None:
    assert sum(rows[column][0] for rows in table.values()) / 10 == pytest.approx(mean, abs=5e-5)


def test_rates_are_fractions() -> None:
    amp = published(9).amp
    assert amp.tpr == pytest.approx((0.9987,) * 4)
    assert amp.tnr[0] == pytest.approx(0.9981)


def test_only_the_complete_official_split_at_full_size_is_comparable() -> None:
    comparable, sentence = comparability(OFFICIAL, image_size=512, trained_on="d", poses=1)
    assert comparable
    assert "class 3" in sentence
    assert sentence.endswith("left 15% of it for validation.")


def test_a_comparison_names_the_number_of_poses() -> None:
    comparable, sentence = comparability(OFFICIAL, image_size=512, trained_on="d", poses=8)
    assert comparable
    assert sentence.endswith("evaluated with the logits averaged over 8 poses.")


@pytest.mark.parametrize("trained_on", ["e", None])
def test_a_model_of_other_training_data_is_not_comparable(trained_on: str | None) -> None:
    assert comparability(OFFICIAL, image_size=512, trained_on=trained_on, poses=1) == (
        False,
        "Not comparable with NVIDIA's published numbers, because the model was trained on another dataset, "
        "which may hold these test images.",
    )


@pytest.mark.parametrize(
    ("changes", "image_size", "words"),
    [
        ({"complete": False, "synthetic": True}, 512, ["synthetic"]),
        ({"complete": False}, 512, ["re-split"]),
        ({}, 128, ["128×128"]),
        ({"complete": False}, 128, ["re-split", "128×128"]),
    ],
)
def test_every_reason_against_a_comparison_is_named(
    changes: dict[str, bool], image_size: int, words: list[str]
) -> None:
    data = OFFICIAL.model_copy(update=changes)
    comparable, sentence = comparability(data, image_size=image_size, trained_on="d", poses=1)
    assert not comparable
    assert sentence.startswith("Not comparable with NVIDIA's published numbers")
    assert all(word in sentence for word in words)
