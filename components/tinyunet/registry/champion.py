"""Which of two registered models is the better one: the rule behind the alias `champion`."""

from dataclasses import dataclass

AP_TOLERANCE = 0.01


@dataclass(frozen=True)
class VersionScores:
    """What decides between two versions.

    Attributes:
        version: Number in the registry.
        test_digest: Digest of the test split that it was judged on.
        dice: Mean Dice of the defective test images.
        ap: Image-level average precision.
        synthetic: Whether these images were generated.
        weights: Digest of the model's weights, empty if not known.
    """

    version: str
    test_digest: str
    dice: float
    ap: float
    synthetic: bool = False
    weights: str = ""


def decide(candidate: VersionScores, champion: VersionScores | None) -> tuple[bool, str]:
    """Tell whether the alias moves to the candidate, and why, in one sentence with numbers.

    It moves when there is no champion, or when the candidate has the higher Dice on the same test images and
    an image-level average precision that is not lower by more than 0.01. A model of real images replaces one
    of synthetic images. The champion's own model, in a younger version, takes the alias along to other test
    images, so that new models can be compared with it there.
    """
    if champion is None:
        return True, f"version {candidate.version} is champion: there was none"
    if champion.version == candidate.version:
        return True, f"version {candidate.version} is the champion already"
    if champion.synthetic and not candidate.synthetic:
        return True, (
            f"version {candidate.version} replaces version {champion.version} as champion: it was judged on "
            "real images, the other one on synthetic ones"
        )
    if candidate.synthetic and not champion.synthetic:
        return False, (
            f"version {champion.version} stays champion: it was judged on real images, version "
            f"{candidate.version} on synthetic ones"
        )
    if champion.test_digest != candidate.test_digest and champion.weights == candidate.weights != "":
        return _same_model(candidate, champion)
    if champion.test_digest != candidate.test_digest:
        return False, (
            f"version {champion.version} stays champion: it was judged on other test images "
            f"({champion.test_digest[:12]}, not {candidate.test_digest[:12]}); to decide, evaluate version "
            f"{candidate.version}'s model on the champion's test images and register that"
        )
    new, old = candidate, champion
    numbers = (
        f"test Dice {new.dice:.4f} against {old.dice:.4f}, image AP {new.ap:.4f} against {old.ap:.4f}, "
        "same test images"
    )
    if new.dice > old.dice and new.ap >= old.ap - AP_TOLERANCE:
        return True, f"version {new.version} replaces version {old.version} as champion: {numbers}"
    fault = "Dice is not higher" if new.dice <= old.dice else f"AP is lower by more than {AP_TOLERANCE}"
    return False, f"version {old.version} stays champion, not version {new.version}: {fault} ({numbers})"


def _same_model(candidate: VersionScores, champion: VersionScores) -> tuple[bool, str]:
    """Decide between two judgements of one model: the alias goes to the younger one, and never back."""
    if int(candidate.version) > int(champion.version):
        return True, (
            f"version {candidate.version} replaces version {champion.version} as champion: it is the same "
            "model, judged on other test images"
        )
    return False, (
        f"version {champion.version} stays champion: version {candidate.version} is an older judgement of "
        "the same model, on other test images"
    )
