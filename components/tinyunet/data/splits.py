"""Which images of Train are held out for validation."""

import hashlib
from collections.abc import Iterable, Mapping

from tinyunet.core.errors import UserError


def validation_names(names: Iterable[str], *, fraction: float, fold: int, stratum: str) -> frozenset[str]:
    """Choose the held-out images of one stratum.

    Images are ranked by the SHA-256 of their name, and fold k is the k-th block of ⌊fraction · n⌋ images (at
    least one) in that ranking: membership depends on nothing else, and folds do not overlap.

    Args:
        names: Names of the stratum, each once.
        fraction: Part to hold out, 0 to 0.5.
        fold: Which block, from 0.
        stratum: What these images are, for the message.

    Raises:
        UserError: if the stratum is too small to have such a block and still something to train on.
    """
    ranked = sorted(names, key=lambda name: (hashlib.sha256(name.encode()).hexdigest(), name))
    count = max(1, int(len(ranked) * fraction + 1e-9))
    block = ranked[fold * count : (fold + 1) * count]
    if len(block) < count or len(ranked) <= count:
        raise UserError(
            f"Train has {len(ranked)} {stratum} images, too few for validation fold {fold} of "
            f"validation_fraction {fraction}; bring more {stratum} images or choose a lower fold"
        )
    return frozenset(block)


def copies_of(names: Iterable[str], pixels: Mapping[str, str]) -> dict[str, set[str]]:
    """Group names whose images are the same, under the first of them: they stand on one side of a split.

    Args:
        names: Names of a stratum.
        pixels: SHA-256 of the pixels, by name; an image of which it is not known is its own group.
    """
    first: dict[str, str] = {}
    groups: dict[str, set[str]] = {}
    for name in sorted(names):
        groups.setdefault(first.setdefault(pixels.get(name) or name, name), set()).add(name)
    return groups
