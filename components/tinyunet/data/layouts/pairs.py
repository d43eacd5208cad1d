"""Layout `pairs`: images in one folder, their masks in another one, or both where the user's patterns say."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

from tinyunet.core.errors import UserError
from tinyunet.data.layouts import loose, patterns, several
from tinyunet.data.layouts.base import LayoutOptions, Listing
from tinyunet.data.layouts.matching import (
    Picture,
    count_text,
    make_samples,
    match_pictures,
    sort_samples,
    without_masks,
)
from tinyunet.data.layouts.names import (
    common_folder,
    folders_of,
    is_clean,
    is_picture,
    mask_stem,
    split_of,
    stem_of,
    without_repeats,
    words_of,
)
from tinyunet.data.layouts.roles import LABEL_WORDS, loose_role_of, other_words, role_of
from tinyunet.data.layouts.split_folders import with_splits
from tinyunet.data.layouts.split_lists import with_lists
from tinyunet.data.layouts.type_names import read_type_names
from tinyunet.data.sources.trees import Tree

NAME = "pairs"
PATTERNS = "--layout pairs --images 'photos/*.jpg' --masks 'labels/{stem}_gt.png'"
_PARTS = "--layout pairs --images 'photos/{stem}_rgb.jpg' --masks 'labels/{stem}_gt.png'"
_ROLE_START = re.compile(r"(?i)^(img|image|im|photo|bild|foto|maske?|label|gt|seg|annotation)[ _-]+(?=.)")


def recognise(tree: Tree) -> bool:
    """Return whether a picture in a folder such as `images` has its mask in a folder such as `masks`."""
    if any("SegmentationClass" in folders_of(name) for name in tree.names):
        return False  # Pascal VOC, which may have lists of splits and names of labels
    return _have_stems_in_common(*_find(tree))


def has_folders(tree: Tree) -> bool:
    """Return whether there are pictures in both folders, whatever their names."""
    return all(_find(tree))


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples; a folder below `images` that differs between them is the type of the defect.

    Raises:
        UserError: if no image has a mask, or a pattern is wrong.
    """
    if options.images or options.masks:
        images, masks = patterns.find(tree, options.images, options.masks)
        found = f"{options.images} with {options.masks}"
    else:
        images, masks = _find(tree)
        found = f"{_folder(images)} beside {_folder(masks)}"
        if not _have_stems_in_common(images, masks) and all(loosely := find_loosely(tree)):
            images, masks = loosely
            found = _example(images, masks)
    if not images or not masks:
        raise UserError(
            f"{tree.location} has no pictures in a folder images beside pictures in a folder masks; "
            f"say where they are with {PATTERNS}"
        )
    images, masks = with_splits(images, masks)
    (unlabelled, notes), groups = without_masks(images, masks), several.group_masks(images, masks)
    used = {picture.file for picture in (*images, *masks)}
    if groups:
        found += ", several masks for an image"
        joined = {mask.file for files in groups.values() for mask in files}
        masks = [mask for mask in masks if mask.file not in joined] + several.first_masks(groups, images)
    matches, problems = match_pictures([image for image in images if image.file not in unlabelled], masks)
    if not any(match.mask for match in matches):
        if _have_stems_in_common(images, masks):
            raise UserError(f"{tree.location} {_ambiguous(images, masks)}")
        raise UserError(
            f"{tree.location} has no image with a mask of the same name: the first image is "
            f"{images[0].file}, the first mask {masks[0].file}; say how they belong together with {_PARTS}"
        )
    matches, list_notes = with_lists(tree, matches)
    expected = f"a file such as {masks[0].file} with the name of the image"
    samples, missing = make_samples(tree, matches, expected, options)
    type_names = read_type_names(tree)
    if groups:
        samples, type_names = several.join_masks(tree, samples, groups, images)
    return Listing(
        layout=NAME,
        found=f"{found}: {count_text(samples)}",
        category=options.category,
        samples=sort_samples(samples),
        problems=(*missing, *problems),
        notes=(*list_notes, *notes),
        ignored=tuple(name for name in tree.names if name not in used),
        type_names=type_names,
    )


def _find(tree: Tree) -> tuple[list[Picture], list[Picture]]:
    """Return the images and the masks by the names of their folders."""
    root, by_role = _by_role(tree, role_of)
    images = by_role["image"] or _beside_mask_folders(by_role[""], by_role["mask"])
    images += _clean(by_role[""], images)
    stems = {_stem(name).lower() for name in images}
    masks = [_picture(name, root, stems) for name in by_role["mask"]]
    found = [_picture(name, root) for name in images]
    if stems & {mask.stem.lower() for mask in masks}:
        return found, masks
    return _without_role_words(found), _without_role_words(masks)


def find_loosely(tree: Tree) -> tuple[list[Picture], list[Picture]]:
    """Return images and masks whose names differ by more than an end, as `loose` says; empty for none.

    The masks have a folder, such as `masks` or `binary`, or a word in their file names. The images are those
    of the folders that hold an image with a mask, and the clean ones.
    """
    root, by_role = _by_role(tree, loose_role_of)
    images, masks = by_role["image"] or by_role[""], by_role["mask"]
    images = [*images, *_clean(by_role[""], images)]
    if not masks:
        pictures = [*by_role["image"], *by_role[""]]
        masks = [name for name in pictures if loose.is_named_as_mask(stem_of(name))]
        images = sorted({*pictures} - {*masks})
    return loose.match([_picture(name, root) for name in images], [_picture(name, root) for name in masks])


def _clean(names: list[str], images: list[str]) -> list[str]:
    """Return the pictures of clean folders that are not among the images; none if there are no images."""
    clean = {name for name in names if any(map(is_clean, folders_of(name)))}
    return sorted(clean - {*images}) if images else []


def _have_stems_in_common(images: list[Picture], masks: list[Picture]) -> bool:
    return bool({image.stem.lower() for image in images} & {mask.stem.lower() for mask in masks})


def _by_role(tree: Tree, kind_of: Callable[[str], str]) -> tuple[str, dict[str, list[str]]]:
    """Return the folder of all pictures, and the pictures by the role of their folders."""
    pictures = [name for name in tree.names if is_picture(name)]
    root = common_folder(pictures)
    if root and role_of(root.split("/")[-2]) == "image":  # both can be below a folder such as `images`
        root = root[: root.rindex("/", 0, -1) + 1] if "/" in root[:-1] else ""
    by_role: dict[str, list[str]] = {"image": [], "mask": [], "": []}
    for name in pictures:
        roles = [role for part in folders_of(name.removeprefix(root)) if (role := kind_of(part))]
        by_role["mask" if "mask" in roles else roles[0] if roles else ""].append(name)
    return root, by_role


def _stem(name: str) -> str:
    """Return the stem of a file in one form of Unicode, because macOS writes accents in another one."""
    return unicodedata.normalize("NFC", stem_of(name))


def _without_role_words(pictures: list[Picture]) -> list[Picture]:
    """Remove a role from the beginning of the stems: `001` of `img_001` and of `mask_001`."""
    return [replace(picture, stem=_ROLE_START.sub("", picture.stem)) for picture in pictures]


def _beside_mask_folders(names: list[str], masks: list[str]) -> list[str]:
    """Return the pictures beside a folder of masks: `a.jpg` and `masks/a.png`, or in a folder named as it.

    Such folders are `train` and `train_masks`. A folder may be in one of its name, as archives are unpacked:
    `train/train`. A folder Label below the images is that of DAGM2007, another layout.
    """
    folders = {without_repeats(folders_of(mask)) for mask in masks}
    parents = {folder[:-1] for folder in folders if not set(words_of(folder[-1])) & LABEL_WORDS}
    named = {(folder[:-1], other_words(folder[-1])) for folder in folders if other_words(folder[-1])}
    places = {name: without_repeats(folders_of(name)) for name in names}
    return [
        name
        for name, place in places.items()
        if place in parents or (place and (place[:-1], words_of(place[-1])) in named)
    ]


def _picture(name: str, root: str, image_stems: set[str] | None = None) -> Picture:
    """Describe a picture; the stem of a mask loses an end such as `_mask` unless an image has it, too."""
    split, folders, place = "", list[str](), list[str]()
    for part in folders_of(name.removeprefix(root)):
        words = words_of(part)
        own_split = split_of(part) or next(
            (split_of(word) for word in words if role_of(part) and split_of(word)), ""
        )
        split = split or own_split
        if role_of(part):
            rest = [word for word in other_words(part) if not split_of(word)]
            folders += [" ".join(rest)] if rest else []
        elif not own_split:
            folders.append(part)
            place.append(part)
    stem = _stem(name)
    if image_stems is not None and stem.lower() not in image_stems:
        stem = mask_stem(stem) or stem
    return Picture(name, stem, split, tuple(folders), tuple(place))


def _example(images: list[Picture], masks: list[Picture]) -> str:
    """Return an image and its mask, such as `a_0000.png with a.png`."""
    image = next(image for image in images if image.stem.lower() == masks[0].stem.lower())
    return " with ".join(picture.file.rpartition("/")[2] for picture in (image, masks[0]))


def _ambiguous(images: list[Picture], masks: list[Picture]) -> str:
    """Return that several images, or several masks, have the name of the first mask that has an image."""
    stems = {image.stem.lower() for image in images}
    stem = next(mask.stem.lower() for mask in masks if mask.stem.lower() in stems)
    same = [[one.file for one in found if one.stem.lower() == stem] for found in (images, masks)]
    return (
        f"has images and masks of the same names, but it is not clear which belong together, such as "
        f"{' and '.join(same[0][:2])} with {' and '.join(same[1][:2])}; put the masks in folders named as "
        f"those of the images, or say it with {_PARTS}"
    )


def _folder(pictures: list[Picture]) -> str:
    """Return the folder of the first picture from the folder that says its role on, such as `images/`."""
    if not pictures:
        return ""
    parts = folders_of(pictures[0].file)
    return next(
        (f"{part}/" for part in parts if role_of(part)), f"{'/'.join(parts)}/" if parts else "pictures"
    )
