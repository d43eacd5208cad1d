"""Images and masks whose names have only a part in common: `7_img.png` and `gt-007.png`."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from tinyunet.data.layouts.matching import Picture, match_pictures
from tinyunet.data.layouts.names import folders_of, is_clean, mask_stem

MIN_MASKS = 3  # fewer names can be alike by chance
_WORDS = (
    "images?|img|im|photos?|pictures?|bild(?:er)?|fotos?|rgb|original|input|masks?|masken?|labels?|lab|gt|"
    "ground[ _-]?truth|seg|segm|segmentation|annotations?|targets?|training|train|validation|valid|val|"
    "testing|test"
)
_WORD = re.compile(rf"(?i)(?<![a-z])(?:{_WORDS})(?![a-z])")
_MASK_WORD = re.compile(
    r"(?i)(?<![a-z])(?:masks?|masken?|labels?|gt|ground[ _-]?truth|seg|segm|segmentation)(?![a-z])"
)
_EXTENSION = re.compile(r"(?i)\.(?:jpe?g|png|bmp|tiff?)(?![a-z0-9])")
_SEPARATORS = " _.-"


def is_named_as_mask(stem: str) -> bool:
    """Return whether a word of a file name says that it is a mask."""
    return bool(_MASK_WORD.search(stem))


def match(images: Sequence[Picture], masks: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Return the pictures with stems by which each mask has its image; empty if there are none.

    Images that have no mask are left out, unless their folder holds one that has, or is one of clean images.
    The stems are those without the words that say the role, without the beginnings and ends that all images
    or all masks have, or as numbers without leading zeros: the first way in which no mask is left over.
    """
    if len(masks) < MIN_MASKS:
        return [], []
    for ways in ((_plain,), (_plain, _without_ends), (_words,), (_words, _without_ends), (_words, _number)):
        found = [_renamed(pictures, ways) for pictures in (images, masks)]
        if all(picture.stem for pictures in found for picture in pictures):
            matches, problems = match_pictures(*found)
            if not problems and sum(one.mask is not None for one in matches) == len(masks):
                folders = {folders_of(one.image.file) for one in matches if one.mask}
                return [image for image in found[0] if _is_kept(image, folders)], found[1]
    return [], []


def _is_kept(image: Picture, folders: set[tuple[str, ...]]) -> bool:
    return folders_of(image.file) in folders or any(map(is_clean, image.folders))


def _renamed(pictures: Sequence[Picture], ways: Sequence[Callable[[list[str]], list[str]]]) -> list[Picture]:
    stems = [picture.stem for picture in pictures]
    for way in ways:
        stems = way(stems)
    return [replace(picture, stem=stem) for picture, stem in zip(pictures, stems, strict=True)]


def _plain(stems: list[str]) -> list[str]:
    """Remove an extension inside the names, `a.jpg_mask`, and an end such as `_mask`."""
    plain = [_EXTENSION.sub("", stem) for stem in stems]
    return [mask_stem(stem) or stem for stem in plain]


def _words(stems: list[str]) -> list[str]:
    """Remove the words that say a role or a split."""
    found = [_WORD.sub("", _EXTENSION.sub("", stem)) for stem in stems]
    return [re.sub(rf"[{_SEPARATORS}]+", "_", stem).strip("_") for stem in found]


def _number(stems: list[str]) -> list[str]:
    return [str(int(stem)) if stem.isdecimal() else stem for stem in stems]


def _without_ends(stems: list[str]) -> list[str]:
    """Remove the beginning and the end that all names have, up to a separator, or to a number."""
    if len(stems) < MIN_MASKS:
        return stems
    start = _length_of_start(stems)
    stems = [stem[start:] for stem in stems]
    shared = _shared_start([stem[::-1] for stem in stems])[::-1]
    end = re.search(rf"[{_SEPARATORS}].*", shared)
    return [stem.removesuffix(end[0]) if end else stem for stem in stems]


def _length_of_start(stems: list[str]) -> int:
    shared = _shared_start(stems)
    for end in range(len(shared), 0, -1):
        before_number = shared[end - 1].isalpha() and all(stem[end : end + 1].isdigit() for stem in stems)
        if shared[end - 1] in _SEPARATORS or before_number:
            return end
    return 0


def _shared_start(stems: list[str]) -> str:
    columns = takewhile(lambda letters: len(set(letters)) == 1, zip(*stems, strict=False))
    return "".join(letters[0] for letters in columns)
