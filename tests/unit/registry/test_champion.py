"""When the alias `champion` moves."""

from dataclasses import replace
from pathlib import Path

import mlflow
import pytest

from tinyunet.registry.champion import VersionScores, decide
from tinyunet.registry.register import REASON, _crown, _standing

CHAMPION = VersionScores("3", "d" * 64, 0.80, 0.99)


def candidate(*, dice: float = 0.80, ap: float = 0.99, digest: str = "d" * 64) -> VersionScores:
    return VersionScores("4", digest, dice, ap)


def test_the_first_version_is_champion() -> None:
    assert decide(candidate(), None) == (True, "version 4 is champion: there was none")


def test_the_champion_registered_again_stays_champion() -> None:
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
def test_higher_dice_wins_unless_average_precision_falls_by_more_than_a_hundredth(
    dice: float, ap: float, moves: bool
) -> None:
    moved, reason = decide(candidate(dice=dice, ap=ap), CHAMPION)
    assert moved is moves
    assert f"test Dice {dice:.4f} against 0.8000, image AP {ap:.4f} against 0.9900" in reason


def test_the_reason_names_what_is_missing() -> None:
    assert "Dice is not higher" in decide(candidate(dice=0.7), CHAMPION)[1]
    assert "AP is lower by more than 0.01" in decide(candidate(dice=0.9, ap=0.5), CHAMPION)[1]


def test_versions_judged_on_other_test_images_are_not_compared() -> None:
    moved, reason = decide(candidate(dice=0.99, ap=1.0, digest="e" * 64), CHAMPION)
    assert not moved
    assert "other test images (dddddddddddd, not eeeeeeeeeeee)" in reason
    assert "evaluate version 4's model on the champion's test images and register that" in reason


def test_the_champions_own_model_takes_the_alias_to_other_test_images_of_the_same_kind() -> None:
    champion = replace(CHAMPION, weights="a" * 64)
    rejudged = replace(candidate(dice=0.5, digest="e" * 64), weights="a" * 64)
    assert decide(rejudged, champion) == (
        True,
        "version 4 replaces version 3 as champion: it is the same model, judged on other test images",
    )
    assert decide(replace(rejudged, version="2"), champion) == (
        False,
        "version 3 stays champion: version 2 is an older judgement of the same model, on other test images",
    )
    assert not decide(replace(rejudged, weights="b" * 64), champion)[0]
    assert decide(replace(rejudged, synthetic=True), champion) == (
        False,
        "version 3 stays champion: it was judged on real images, version 4 on synthetic ones",
    )
    assert not decide(replace(rejudged, weights=""), replace(champion, weights=""))[0]


def test_the_champions_own_model_judged_again_on_the_same_images_is_compared_like_any_other() -> None:
    champion = replace(CHAMPION, weights="a" * 64)
    assert not decide(replace(candidate(dice=0.79), weights="a" * 64), champion)[0]
    assert decide(replace(candidate(dice=0.81), weights="a" * 64), champion)[0]
    assert not decide(replace(candidate(dice=0.79), weights="a" * 64, version="2"), champion)[0]
    assert decide(replace(candidate(dice=0.81), weights="a" * 64, version="2"), champion)[0]


def test_the_tenth_version_is_younger_than_the_ninth() -> None:
    ninth = replace(CHAMPION, version="9", weights="a" * 64)
    tenth = replace(ninth, version="10", test_digest="e" * 64)
    assert decide(tenth, ninth)[0]
    assert not decide(ninth, tenth)[0]


def test_a_model_of_real_images_replaces_one_of_synthetic_images_and_never_the_other_way() -> None:
    synthetic = VersionScores("3", "d" * 64, 0.95, 1.0, synthetic=True)
    moved, reason = decide(candidate(dice=0.5, digest="e" * 64), synthetic)
    assert moved
    assert reason.endswith("judged on real images, the other one on synthetic ones")
    assert not decide(VersionScores("4", "e" * 64, 0.99, 1.0, synthetic=True), CHAMPION)[0]


@pytest.mark.parametrize(("dice", "moves"), [(0.96, True), (0.94, False)])
def test_two_models_of_synthetic_images_are_compared(dice: float, moves: bool) -> None:
    synthetic = VersionScores("3", "d" * 64, 0.95, 0.99, synthetic=True)
    assert decide(replace(candidate(dice=dice), synthetic=True), synthetic)[0] is moves


def test_a_version_stands_where_its_tags_say_and_one_that_is_champion_keeps_its_reason(
    tmp_path: Path,
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri, registry_uri=uri)

    def add(**tags: object) -> str:
        texts = {key: str(value) for key, value in tags.items()}
        return str(client.create_model_version("standing", "s3://tinyunet/none", tags=texts).version)

    client.create_registered_model("standing")
    run = client.create_run("0").info.run_id
    scores = {"test_digest": "d" * 64, "dice_defective": 0.5, "image_ap": 0.9}
    foreign, real, generated = add(), add(**scores, synthetic=False), add(**scores, synthetic=True)
    standing = _standing(client, "standing", foreign)
    assert (standing.test_digest, standing.dice, standing.synthetic) == ("unknown", 0.0, False)
    assert _standing(client, "standing", real).dice == 0.5
    assert [_standing(client, "standing", version).synthetic for version in (real, generated)] == [
        False,
        True,
    ]
    for version, champion in ((generated, True), (real, True), (real, True), (generated, False)):
        assert _crown(client, run, "standing", version)[0] is champion
    assert str(client.get_model_version_by_alias("standing", "champion").version) == real
    reasons = [client.get_model_version("standing", version).tags[REASON] for version in (real, generated)]
    assert reasons[0].startswith(f"version {real} replaces version {generated} as champion")
    assert reasons[1].startswith(f"version {real} stays champion")
    assert client.get_run(run).data.tags[REASON] == reasons[1]
