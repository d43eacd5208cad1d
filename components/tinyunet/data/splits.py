"""The choice of the validation images from Train."""

import hashlib
from collections.abc import Iterable, Mapping

from tinyunet.core.errors import UserError


def validation_names(names: Iterable[str], *, fraction: float, fold: int, stratum: str) -> frozenset[str]:
    """Return the held-out images of one stratum.

    Images are sorted by the SHA-256 of their name, and fold k is the k-th block of ⌊fraction · n⌋ images (at
    least one). The choice depends on nothing else, and folds do not overlap.

    Args:
        names: Names of the images of the stratum, without repetition.
        fraction: Part to hold out, 0 to 0.5.
        fold: Number of the block, counted from 0.
        stratum: Name of the stratum, for the error message.

    Raises:
        UserError: if the stratum is too small for this block and at least one training image.
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
    """Return groups of names whose images are equal, under the first name; a split must not separate them.

    Args:
        names: Names of a stratum.
        pixels: SHA-256 of the pixels by name. An image without one forms its own group.
    """
    first: dict[str, str] = {}
    groups: dict[str, set[str]] = {}
    for name in sorted(names):
        groups.setdefault(first.setdefault(pixels.get(name) or name, name), set()).add(name)
    return groups
