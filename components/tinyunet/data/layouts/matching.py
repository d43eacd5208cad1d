"""Pictures of a source with their roles, and the samples of images and masks that belong together."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

from tinyunet.data.layouts.base import LayoutOptions, Problem, SourceFile, SourceSample
from tinyunet.data.layouts.names import UniqueNames, are_numbers, is_clean, sample_name, varying
from tinyunet.data.sources.trees import Tree

MIN_GROUPS = 10  # a split of fewer groups into three parts is far from the parts that were asked for


@dataclass(frozen=True)
class Picture:
    """A picture file of a source.

    Attributes:
        file: Path in the source.
        stem: The part of its name that an image and its mask have in common.
        split: `train`, `validation`, `test`, or empty.
        folders: The folders that say neither the split nor whether it is an image or a mask, and the other
            words of such folders.
        place: These folders without such words: those above `Rail surface images` and `GroundTruth`.
    """

    file: str
    stem: str
    split: str = ""
    folders: tuple[str, ...] = ()
    place: tuple[str, ...] = ()


@dataclass(frozen=True)
class Match:
    """An image and its mask, if it has one."""

    image: Picture
    mask: Picture | None


def source_file(tree: Tree, name: str) -> SourceFile:
    """Return a file of a tree."""
    return SourceFile(name, partial(tree.read, name))


def match_pictures(images: Sequence[Picture], masks: Sequence[Picture]) -> tuple[list[Match], list[Problem]]:
    """Give every image its mask, and return the masks that are left over, and second files, as problems.

    The mask of an image has the same split, folders and stem; else it is the only one that has them in any
    case; else the only one with that stem in any folder. Only one of two splits may be unknown. A mask that
    could be that of a clean image or of another one is that of the other one.
    """
    problems: list[Problem] = []
    unique_images, unique_masks = _unique(images, "image", problems), _unique(masks, "mask", problems)
    found: dict[str, Picture] = {}  # by the file of the image
    used: set[str] = set()
    others = [image for image in unique_images if not any(map(is_clean, image.folders))]
    keys = (_key, _any_case, _same_place, _any_folder, _any_split)
    for candidates, key in product((unique_images, others), keys):
        by_key = (_group(candidates, key, set(found)), _group(unique_masks, key, used))
        for value, same in by_key[0].items():
            if len(same) == 1 == len(by_key[1][value]) and _may_share_split(same[0], by_key[1][value][0]):
                found[same[0].file] = by_key[1][value][0]
                used.add(by_key[1][value][0].file)
    lonely = [mask.file for mask in unique_masks if mask.file not in used]
    problems += [Problem(file, "is a mask without an image") for file in lonely]
    return [Match(image, found.get(image.file)) for image in unique_images], problems


def _unique(pictures: Sequence[Picture], role: str, problems: list[Problem]) -> list[Picture]:
    """Return the first picture of each split, folders and stem; the others are problems."""
    first: dict[Hashable, Picture] = {}
    for picture in pictures:
        same = first.setdefault(_key(picture), picture)
        if same is not picture:
            problems.append(Problem(picture.file, f"is a second {role} of the same name beside {same.file}"))
    return list(first.values())


def _group(
    pictures: Sequence[Picture], key: Callable[[Picture], Hashable], used: set[str]
) -> defaultdict[Hashable, list[Picture]]:
    groups = defaultdict[Hashable, list[Picture]](list)
    for picture in pictures:
        if picture.file not in used:
            groups[key(picture)].append(picture)
    return groups


def _key(picture: Picture) -> Hashable:
    return picture.split, picture.folders, picture.stem


def _any_case(picture: Picture) -> Hashable:
    return picture.split, tuple(folder.lower() for folder in picture.folders), picture.stem.lower()


def _same_place(picture: Picture) -> Hashable:
    return picture.split, picture.place, picture.stem.lower()


def _any_folder(picture: Picture) -> Hashable:
    return picture.split, picture.stem.lower()


def _any_split(picture: Picture) -> Hashable:
    return picture.stem.lower()


def _may_share_split(image: Picture, mask: Picture) -> bool:
    return image.split == mask.split or not (image.split and mask.split)


def without_masks(images: Sequence[Picture], masks: Sequence[Picture]) -> tuple[set[str], tuple[str, ...]]:
    """Return the images of splits that have neither masks nor clean images, and the note that says so.

    They are the images of the test of a competition.
    """
    splits = {mask.split for mask in masks}
    labelled = splits | {image.split for image in images if any(map(is_clean, image.folders))}
    if "" in splits or "train" not in splits:
        return set(), ()
    files = [image.file for image in images if image.split and image.split not in labelled]
    note = f"images of a split without any mask are ignored: {len(files)}, such as "
    return set(files), (note + files[0],) if files else ()


def make_samples(
    tree: Tree, matches: Sequence[Match], expected: str, options: LayoutOptions
) -> tuple[list[SourceSample], list[Problem]]:
    """Return the samples of matched pictures, and a problem for every image whose mask is missing.

    With `options.unmasked` = `clean`, these images are clean.

    The innermost folder that differs between images is the type of the defect. Folders that differ by a
    number only, such as `kos01` and `kos02`, are no types; they are groups if there are at least ten. Ten or
    more folders of one image each, beside those of clean images, are no types either.

    Args:
        tree: The source.
        matches: The images with their masks.
        expected: What a mask of an image would be, for the message about a missing one.
        options: `unmasked` is used.
    """
    names, samples, problems = UniqueNames(), [], list[Problem]()
    folders = varying([match.image.folders for match in matches])
    innermost = [parts[-1] if parts else "" for parts in folders]
    numbered = are_numbers(innermost)
    grouped = numbered and len(set(innermost)) >= MIN_GROUPS
    unmasked_is_clean = options.unmasked == "clean"
    are_clean = [
        any(map(is_clean, match.image.folders)) or (unmasked_is_clean and match.mask is None)
        for match in matches
    ]
    kinds = [kind for kind, clean in zip(innermost, are_clean, strict=True) if not clean]
    numbered = numbered or len(set(kinds)) == len(kinds) >= MIN_GROUPS
    for match, parts, kind, clean in zip(matches, folders, innermost, are_clean, strict=True):
        if match.mask is None and not clean:
            problems.append(
                Problem(
                    match.image.file,
                    f"is an image without a mask; expected {expected}; if it has no defect, move it to a "
                    "folder named good, or say --unmasked clean",
                )
            )
            continue
        split = match.image.split or (match.mask.split if match.mask else "")
        sample = SourceSample(
            name=names.add(split, sample_name([*parts, match.image.stem])),
            image=source_file(tree, match.image.file),
            mask=source_file(tree, match.mask.file) if match.mask else None,
            split=split,
            defect_type="" if clean or numbered else kind,
            group=kind if grouped else "",
            defective=False if match.mask is None else None,
        )
        samples.append(sample)
    return samples, problems


def sort_samples(samples: Iterable[SourceSample]) -> tuple[SourceSample, ...]:
    """Return the samples sorted by split (train, validation, test) and name."""
    order = {"train": 0, "validation": 1, "test": 2}
    return tuple(sorted(samples, key=lambda sample: (order.get(sample.split, 3), sample.split, sample.name)))


def count_text(samples: Sequence[SourceSample]) -> str:
    """Return the numbers of images and masks, such as `380 images, 350 masks`, the splits and the types."""
    masks = sum(sample.mask is not None for sample in samples)
    splits = [name for name in ("train", "validation", "test") if any(s.split == name for s in samples)]
    text = f"{len(samples)} image{'s' * (len(samples) != 1)}, {masks} mask{'s' * (masks != 1)}"
    types = sorted({sample.defect_type for sample in samples} - {""})
    return (
        text + (f"; {', '.join(splits)}" if splits else "") + (f"; types {', '.join(types)}" if types else "")
    )
