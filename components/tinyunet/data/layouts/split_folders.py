"""Folders whose names differ by their split only: `traincrop` and `testcrop`."""

import re
from collections.abc import Sequence
from dataclasses import replace

from tinyunet.data.layouts.matching import Picture
from tinyunet.data.layouts.names import split_of

_SPLIT = re.compile(r"(?i)training|train|validation|valid|val|testing|test")


def with_splits(images: Sequence[Picture], masks: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Return the pictures with the splits that their folders say only together.

    A folder such as `traincrop` may be a type of defects. It is a split if the folders beside it are
    `testcrop` or `valcrop`, and no picture has a split already.
    """
    splits = {} if any(image.split for image in images) else _splits(images)
    return [_moved(image, splits) for image in images], [_moved(mask, splits) for mask in masks]


def _splits(images: Sequence[Picture]) -> dict[str, str]:
    """Return the splits by the names of the folders of one level; empty if they are no splits."""
    for level in range(min((len(image.folders) for image in images), default=0)):
        names = {image.folders[level] for image in images}
        found = {name: _SPLIT.search(name) for name in names}
        splits = {name: split_of(match[0]) for name, match in found.items() if match}
        others = {_SPLIT.sub("", name, count=1).lower() for name in names}
        if len(others) == 1 and len(splits) == len(names) > 1 and "train" in splits.values():
            return splits
    return {}


def _moved(picture: Picture, splits: dict[str, str]) -> Picture:
    """Return a picture whose first folder that is a split has become its split."""
    folder = next((folder for folder in picture.folders if folder in splits), "")
    if not folder:
        return picture
    folders, place = (
        tuple(part for part in parts if part != folder) for parts in (picture.folders, picture.place)
    )
    return replace(picture, split=picture.split or splits[folder], folders=folders, place=place)
