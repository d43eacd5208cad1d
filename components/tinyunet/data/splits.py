"""The choice of the validation images from Train."""

import hashlib
from collections.abc import Iterable, Mapping

from tinyunet.core.errors import UserError


def validation_names(names: Iterable[str], *, fraction: float, fold: int, stratum: str) -> frozenset[str]:
    """Return the held-out images of one stratum.

    The images are sorted by the SHA-256 of their names. Fold k is the k-th block of ⌊fraction · n⌋ images (at
    least one). The choice depends on nothing else, and folds do not overlap.

    Args:
        names: Names of the images of the stratum, without repetition.
        fraction: Fraction of the images to hold out, 0 to 0.5.
        fold: Number of the block, counted from 0.
        stratum: Name of the stratum, for the error message.

    Raises:
        UserError: if the stratum is too small for this block and at least one training image.

    Of 10 images, ⌊0.25 · 10⌋ = 2 are held out:

    >>> len(validation_names("abcdefghij", fraction=0.25, fold=0, stratum="defective"))
    2
    """
    ranked = sorted(names, key=lambda name: (hashlib.sha256(name.encode()).hexdigest(), name))
    count = max(1, int(len(ranked) * fraction + 1e-9))
    block = ranked[fold * count : (fold + 1) * count]
    if len(block) < count or len(ranked) <= count:
        raise UserError(
            f"Train has {len(ranked)} {stratum} images, too few for validation fold {fold} of "
            f"validation_fraction {fraction}; add {stratum} images or choose a lower fold"
        )
    return frozenset(block)


def group_copies(names: Iterable[str], pixels: Mapping[str, str]) -> dict[str, set[str]]:
    """Group the names of equal images, which must be either all in train or all in validation.

    Args:
        names: Names of a stratum.
        pixels: SHA-256 of the pixels by name. An image without one forms its own group.

    Returns:
        The groups by the first name of each.

    The images 1 and 3 have the same pixels:

    >>> groups = group_copies(["1", "2", "3"], {"1": "5feceb", "2": "6b86b2", "3": "5feceb"})
    >>> groups == {"1": {"1", "3"}, "2": {"2"}}
    True
    """
    first_name: dict[str, str] = {}
    groups: dict[str, set[str]] = {}
    for name in sorted(names):
        groups.setdefault(first_name.setdefault(pixels.get(name) or name, name), set()).add(name)
    return groups
