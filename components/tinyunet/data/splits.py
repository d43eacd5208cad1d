"""The choice of the validation images from Train, and of all splits of a data set that has none."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinyunet.core.config import DataConfig
from tinyunet.core.documents.raw import RawFile
from tinyunet.core.errors import UserError

SPLITS: tuple[str, ...] = ("train", "validation", "test")
DEFECTIVE, CLEAN = "defective", "defect-free"  # strata of the choice of validation images


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


def choose_validation(files: Iterable[RawFile], config: DataConfig) -> dict[str, list[RawFile]]:
    """Return the images of every split, sorted by name.

    A data set without validation images gives some of its training images, of the defective and of the
    defect-free ones separately. Images of one group, and images with the same pixels, stay together; they
    count as one image, which is defective if one of them is.

    Args:
        files: All images of the data set.
        config: `validation_fraction` and `fold` are used.

    Raises:
        UserError: if there are too few images in Train, or a fold is chosen although the data set has its own
            validation images.
    """
    ordered = sorted(files, key=lambda file: file.name)
    chosen = {split: [file for file in ordered if file.split == split] for split in SPLITS}
    if chosen["validation"]:
        if config.fold:
            raise UserError(
                f"fold is {config.fold}, but the data set has its own validation images; give fold=0"
            )
        return chosen
    groups: dict[str, dict[str, set[str]]] = {DEFECTIVE: {}, CLEAN: {}}
    for group in connected(map(_item, chosen["train"])):
        stratum = DEFECTIVE if any(item.stratum == DEFECTIVE for item in group) else CLEAN
        names = {item.name for item in group}
        groups[stratum][min(names)] = names
    held_out: set[str] = set()
    for stratum in (DEFECTIVE, CLEAN) if len(groups[CLEAN]) > 1 else (DEFECTIVE,):
        for name in validation_names(
            groups[stratum], fraction=config.validation_fraction, fold=config.fold, stratum=stratum
        ):
            held_out |= groups[stratum][name]
    return chosen | {
        "train": [file for file in chosen["train"] if file.name not in held_out],
        "validation": [file for file in chosen["train"] if file.name in held_out],
    }


def _item(file: RawFile) -> "SplitItem":
    keys = {f"pixels {file.pixels_sha256}" if file.pixels_sha256 else f"name {file.name}"}
    if file.group:
        keys.add(f"group {file.group}")
    return SplitItem(file.name, DEFECTIVE if file.defective else CLEAN, frozenset(keys))


@dataclass(frozen=True)
class SplitItem:
    """An image that needs a split.

    Attributes:
        name: Name of the image.
        stratum: Every stratum, such as a defect type, is divided in the same proportions.
        keys: Images that share a key, such as a part number or equal pixels, are in one split.
    """

    name: str
    stratum: str
    keys: frozenset[str]


def make_splits(items: Sequence[SplitItem], fractions: Sequence[float]) -> dict[str, str]:
    """Return the split of every image by name; the result depends on nothing else than the items.

    Images that share a key form a group. The groups of a stratum are sorted by the SHA-256 of their first
    name. The first ones are the test images, the next ones are for validation, and the others for training.
    A stratum with at least three groups has at least one group in every split.

    Args:
        items: The images.
        fractions: Fractions of the images for train, validation and test.

    >>> items = [SplitItem(str(i), "scratch", frozenset([str(i)])) for i in range(20)]
    >>> Counter(make_splits(items, (0.7, 0.15, 0.15)).values()) == {"train": 14, "validation": 3, "test": 3}
    True
    """
    by_stratum: dict[str, list[list[SplitItem]]] = defaultdict(list)
    sizes = Counter(item.stratum for item in items)
    for group in connected(items):
        by_stratum[min((item.stratum for item in group), key=lambda s: (sizes[s], s))].append(group)
    chosen: dict[str, str] = {}
    for groups in by_stratum.values():
        for split, group in _divide(groups, fractions):
            chosen |= {item.name: split for item in group}
    return chosen


def connected(items: Iterable[SplitItem]) -> list[list[SplitItem]]:
    """Return the groups of images that are connected by common keys."""
    group_of_key: dict[str, list[SplitItem]] = {}
    for item in sorted(items, key=lambda item: item.name):
        found = [group_of_key[key] for key in sorted(item.keys) if key in group_of_key]
        group = max(found, key=len, default=[])
        added = [item]
        for other in {id(other): other for other in found if other is not group}.values():
            added += other
        group += added
        for member in added:
            group_of_key |= dict.fromkeys(member.keys, group)
    return list({id(group): group for group in group_of_key.values()}.values())


def _divide(
    groups: Sequence[list[SplitItem]], fractions: Sequence[float]
) -> list[tuple[str, list[SplitItem]]]:
    def rank(group: list[SplitItem]) -> str:
        return hashlib.sha256(min(item.name for item in group).encode()).hexdigest()

    _, validation, test = fractions
    total = sum(map(len, groups))
    remaining, result = sorted(groups, key=rank), []
    for split, fraction, reserved in (
        ("test", test, 2 if len(groups) > 2 else 1),
        ("validation", validation, 1),
    ):
        wanted, taken = max(1, round(total * fraction)), 0
        while taken < wanted and len(remaining) > reserved:  # the other splits need a group each
            group = remaining.pop(0)
            taken += len(group)
            result.append((split, group))
    return result + [("train", group) for group in remaining]
