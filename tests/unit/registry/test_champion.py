"""The rule of the alias `champion`."""

from dataclasses import replace

import pytest

from tinyunet.registry.champion import VersionScores, decide

CHAMPION = VersionScores("3", "d" * 64, 0.80, 0.99)


def candidate(*, dice: float = 0.80, ap: float = 0.99, digest: str = "d" * 64) -> VersionScores:
    return VersionScores("4", digest, dice, ap)


def test_the_first_version_is_champion() -> None:
    assert decide(candidate(), None) == (True, "version 4 is champion: there was no champion")


def test_the_champion_stays_champion_when_it_is_registered_again() -> None:
    assert decide(CHAMPION, CHAMPION) == (True, "version 3 is the champion already")


@pytest.mark.parametrize(
    ("dice", "ap", "moves"),
    [
        (0.81, 0.99, True),
        (0.81, 0.981, True),  # AP lower by 0.009
        (0.81, 0.98, True),  # by 0.01
        (0.81, 0.979, False),  # AP lower by 0.011
        (0.80, 1.00, False),  # Dice equal
        (0.79, 1.00, False),
    ],
)
def test_a_higher_dice_decides_unless_the_average_precision_is_lower_by_more_than_a_hundredth(
    dice: float, ap: float, moves: bool
) -> None:
    moved, reason = decide(candidate(dice=dice, ap=ap), CHAMPION)
    assert moved is moves
    assert f"test Dice {dice:.4f} against 0.8000, image AP {ap:.4f} against 0.9900" in reason


def test_the_reason_names_the_score_that_is_too_low() -> None:
    assert "Dice is not higher" in decide(candidate(dice=0.7), CHAMPION)[1]
    assert "AP is lower by more than 0.01" in decide(candidate(dice=0.9, ap=0.5), CHAMPION)[1]


def test_versions_on_different_test_images_are_not_compared() -> None:
    moved, reason = decide(candidate(dice=0.99, ap=1.0, digest="e" * 64), CHAMPION)
    assert not moved
    assert "other test images (dddddddddddd, not eeeeeeeeeeee)" in reason
    assert "evaluate the model of version 4 on the champion's test images and register that" in reason


def test_a_newer_version_with_the_champions_weights_replaces_it_on_other_test_images() -> None:
    champion = replace(CHAMPION, weights="a" * 64)
    newer = replace(candidate(dice=0.5, digest="e" * 64), weights="a" * 64)
    assert decide(newer, champion) == (
        True,
        "version 4 replaces version 3 as champion: it is the same model, evaluated on other test images",
    )
    assert decide(replace(newer, version="2"), champion) == (
        False,
        "version 3 stays champion: version 2 is an older evaluation of the same model, on other test images",
    )
    assert not decide(replace(newer, weights="b" * 64), champion)[0]
    assert decide(replace(newer, synthetic=True), champion) == (
        False,
        "version 3 stays champion: it was evaluated on real images, version 4 on synthetic ones",
    )
    assert not decide(replace(newer, weights=""), replace(champion, weights=""))[0]


def test_a_version_with_the_champions_weights_on_the_same_test_images_is_compared_by_its_scores() -> None:
    champion = replace(CHAMPION, weights="a" * 64)
    assert not decide(replace(candidate(dice=0.79), weights="a" * 64), champion)[0]
    assert decide(replace(candidate(dice=0.81), weights="a" * 64), champion)[0]
    assert not decide(replace(candidate(dice=0.79), weights="a" * 64, version="2"), champion)[0]
    assert decide(replace(candidate(dice=0.81), weights="a" * 64, version="2"), champion)[0]


def test_the_tenth_version_is_newer_than_the_ninth() -> None:
    ninth = replace(CHAMPION, version="9", weights="a" * 64)
    tenth = replace(ninth, version="10", test_digest="e" * 64)
    assert decide(tenth, ninth)[0]
    assert not decide(ninth, tenth)[0]


def test_a_model_of_real_images_replaces_one_of_synthetic_images_but_not_the_reverse() -> None:
    synthetic = VersionScores("3", "d" * 64, 0.95, 1.0, synthetic=True)
    moved, reason = decide(candidate(dice=0.5, digest="e" * 64), synthetic)
    assert moved
    assert reason.endswith("evaluated on real images, the other version on synthetic ones")
    assert not decide(VersionScores("4", "e" * 64, 0.99, 1.0, synthetic=True), CHAMPION)[0]


@pytest.mark.parametrize(("dice", "moves"), [(0.96, True), (0.94, False)])
def test_two_models_of_synthetic_images_are_compared_by_their_scores(dice: float, moves: bool) -> None:
    synthetic = VersionScores("3", "d" * 64, 0.95, 0.99, synthetic=True)
    assert decide(replace(candidate(dice=dice), synthetic=True), synthetic)[0] is moves
