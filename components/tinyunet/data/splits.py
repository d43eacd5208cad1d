"""Which images of Train are held out for validation."""

import hashlib
from collections.abc import Iterable, Mapping, Set

from tinyunet.errors import UserError


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


def with_copies(held: Set[str], images: Mapping[str, str]) -> set[str]:
    """Add to the held-out names those whose image is the same: what is validated on was never trained on.

    Args:
        held: Names held out.
        images: SHA-256 of each image of Train, by name.
    """
    seen = {images[name] for name in held if name in images}
    return {*held, *(name for name, sha256 in images.items() if sha256 in seen)}
