"""The rule that decides which version of a registered model has the alias `champion`."""

from dataclasses import dataclass

AP_TOLERANCE = 0.01
USELESS_DICE = 0.1  # a mask that is this wrong shows a person nothing


@dataclass(frozen=True)
class VersionScores:
    """The facts about a version that the rule uses.

    Attributes:
        version: Number in the registry.
        test_digest: Digest of the test split that the model was evaluated on.
        dice: Mean Dice of the defective test images.
        ap: Image-level average precision on Test.
        synthetic: Whether the test images were generated.
        weights: Digest of the model's weights; empty if unknown.
    """

    version: str
    test_digest: str
    dice: float
    ap: float
    synthetic: bool = False
    weights: str = ""


def decide(candidate: VersionScores, champion: VersionScores | None) -> tuple[bool, str]:
    """Decide whether the candidate becomes the champion, or is the champion already.

    - If there is no champion, the candidate becomes the champion.
    - If one of them was evaluated on real images and the other on synthetic ones, the former is the champion.
    - On the same test images, the candidate replaces the champion if its Dice is higher and its image-level
      average precision (AP) is at most 0.01 lower.
    - On other test images, the candidate replaces the champion only if it is a newer version with the same
      weights. Later models can then be compared with the champion on these test images.

    The Dice is higher by 0.01, the AP is lower by 0.005:

    >>> old = VersionScores("3", test_digest="d1", dice=0.80, ap=0.990)
    >>> decide(VersionScores("4", test_digest="d1", dice=0.81, ap=0.985), champion=old)[0]
    True

    The AP is lower by 0.02:

    >>> decide(VersionScores("4", test_digest="d1", dice=0.90, ap=0.970), champion=old)[0]
    False

    The test images differ:

    >>> decide(VersionScores("4", test_digest="d2", dice=0.90, ap=0.990), champion=old)[0]
    False

    Args:
        candidate: The version that is registered.
        champion: The version with the alias; None if there is none.

    Returns:
        The decision, and the reason in one sentence with numbers.
    """
    if champion is None:
        advice = "; it finds hardly any defect: train for longer" if candidate.dice < USELESS_DICE else ""
        return True, f"version {candidate.version} is champion: there was no champion{advice}"
    if champion.version == candidate.version:
        return True, f"version {candidate.version} is the champion already"
    if champion.synthetic and not candidate.synthetic:
        return True, (
            f"version {candidate.version} replaces version {champion.version} as champion: it was evaluated "
            "on real images, the other version on synthetic ones"
        )
    if candidate.synthetic and not champion.synthetic:
        return False, (
            f"version {champion.version} stays champion: it was evaluated on real images, version "
            f"{candidate.version} on synthetic ones"
        )
    if champion.test_digest == candidate.test_digest:
        return _compare_scores(candidate, champion)
    if champion.weights == candidate.weights != "":
        return _compare_age(candidate, champion)
    return False, (
        f"version {champion.version} stays champion: it was evaluated on other test images "
        f"({champion.test_digest[:12]}, not {candidate.test_digest[:12]}); to compare them, evaluate the "
        f"model of version {candidate.version} on the champion's test images and register that evaluation"
    )


def _compare_scores(new: VersionScores, old: VersionScores) -> tuple[bool, str]:
    """Decide between two versions that were evaluated on the same test images."""
    numbers = (
        f"test Dice {new.dice:.4f} against {old.dice:.4f}, image AP {new.ap:.4f} against {old.ap:.4f}, "
        "same test images"
    )
    if new.dice > old.dice and new.ap >= old.ap - AP_TOLERANCE:
        return True, f"version {new.version} replaces version {old.version} as champion: {numbers}"
    fault = "Dice is not higher" if new.dice <= old.dice else f"AP is lower by more than {AP_TOLERANCE}"
    return False, f"version {old.version} stays champion, not version {new.version}: {fault} ({numbers})"


def _compare_age(candidate: VersionScores, champion: VersionScores) -> tuple[bool, str]:
    """Decide between two evaluations of one model on different test images: the newer version is champion."""
    if int(candidate.version) > int(champion.version):
        return True, (
            f"version {candidate.version} replaces version {champion.version} as champion: it is the same "
            "model, evaluated on other test images"
        )
    return False, (
        f"version {champion.version} stays champion: version {candidate.version} is an older evaluation of "
        "the same model, on other test images"
    )
