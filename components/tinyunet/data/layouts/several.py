"""Several masks for one image: one in a folder of each type, or one for each defect."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.annotated.shapes import Shape, draw, pack, type_values
from tinyunet.data.layouts.base import SourceFile, SourceSample
from tinyunet.data.layouts.matching import Picture
from tinyunet.data.layouts.names import mask_stem, stem_of
from tinyunet.data.pictures.mask_values import LARGEST_INDEX
from tinyunet.data.pictures.opening import opened
from tinyunet.data.pictures.pixels import size_text
from tinyunet.data.sources.trees import Tree

Groups = dict[str, list[Picture]]  # the masks by the file of their image


def group_masks(images: Sequence[Picture], masks: Sequence[Picture]) -> Groups:
    """Return the masks of every image if at least one image has several; otherwise nothing.

    The masks of an image have its name in folders of types, `masks/scratch/a.png` and `masks/dent/a.png`, or
    with numbers, `masks/a_mask1.png` and `masks/a_mask2.png`, or they are in `masks` beside the only image of
    its folder: `a/images/a.png` and `a/masks/*.png`.
    """
    return _by_stem(images, masks) or _by_place(images, masks)


def _stem(picture: Picture) -> tuple[str, str]:
    return picture.split, picture.stem.lower()


def _by_stem(images: Sequence[Picture], masks: Sequence[Picture]) -> Groups:
    by_key = defaultdict[tuple[str, str], list[Picture]](list)
    for mask in masks:
        by_key[_stem(mask)].append(mask)
    counts = Counter(map(_stem, images))
    own = {image.file: by_key[_stem(image)] for image in images if counts[_stem(image)] == 1}
    folders = {image.file: image.folders for image in images}
    exact = any(mask.folders == folders[file] for file, found in own.items() for mask in found)
    several = [found for found in own.values() if len(found) > 1]
    numbered = bool(several) and all(_is_numbered(mask) for found in several for mask in found)
    return (
        {file: found for file, found in own.items() if found} if several and (numbered or not exact) else {}
    )


def _is_numbered(mask: Picture) -> bool:
    name = stem_of(mask.file)
    return name[-1:].isdigit() and mask_stem(name).lower() == mask.stem.lower()


def _by_place(images: Sequence[Picture], masks: Sequence[Picture]) -> Groups:
    counts = Counter(image.place for image in images)
    if () in counts or set(counts.values()) != {1}:
        return {}
    if {_stem(image) for image in images} & {_stem(mask) for mask in masks}:
        return {}
    by_place = defaultdict[tuple[str, ...], list[Picture]](list)
    for mask in masks:
        by_place[mask.place].append(mask)
    return {image.file: by_place[image.place] for image in images if by_place[image.place]}


def first_masks(groups: Groups, images: Iterable[Picture]) -> list[Picture]:
    """Return one mask for every image, with the names of the image, so that both are matched."""
    return [replace(image, file=groups[image.file][0].file) for image in images if image.file in groups]


def join_masks(
    tree: Tree, samples: Sequence[SourceSample], groups: Groups, images: Iterable[Picture]
) -> tuple[list[SourceSample], dict[int, str]]:
    """Return the samples with all masks of their images in one, and the names of its values."""
    folders = {image.file: set(image.folders) for image in images}
    types = {
        mask.file: next((name for name in mask.folders[::-1] if name not in folders[file]), "defect")
        for file, found in groups.items()
        for mask in found
    }
    values = type_values(types.values())
    joined = []
    for sample in samples:
        files = [mask.file for mask in groups.get(sample.image.name, [])]
        mask = SourceFile(f"the masks of {sample.image.name}", partial(_join, tree, files, types, values))
        joined.append(replace(sample, mask=mask if files else None))
    return joined, {value: name for name, value in values.items()}


def _join(tree: Tree, files: Sequence[str], types: dict[str, str], values: dict[str, int]) -> bytes:
    """Return the mask in which every file has drawn its type; later files cover earlier ones."""
    marked = [_marked(tree.read(file), file) for file in files]
    for file, pixels in zip(files, marked, strict=True):
        if pixels.shape != marked[0].shape:
            sizes = f"{file} is {size_text(pixels.shape)}, {files[0]} {size_text(marked[0].shape)}"
            raise UserError(f"differ in size: {sizes}")
    shapes = [
        Shape(types[file], "bitmap", ((0, 0),), pack(pixels))
        for file, pixels in zip(files, marked, strict=True)
    ]
    height, width = marked[0].shape
    return draw(shapes, values, lambda: (width, height))


def _marked(data: bytes, file: str) -> NDArray[np.bool_]:
    """Return the pixels of a mask that are at least half as bright as its brightest one, bool [H, W].

    Raises:
        UserError: if the file has more than one region, or is no mask, such as a mask drawn on its image.
    """
    with opened(data) as picture:
        levels = np.asarray(picture if picture.mode == "P" else picture.convert("L"))
    counts, top = np.bincount(levels.ravel()), int(levels.max())
    if top <= LARGEST_INDEX and np.count_nonzero(counts) > 2:
        raise UserError(f"include {file}, which holds several values; expected one mask for each type")
    if np.sort(counts)[-2:].sum() < levels.size / 2:
        raise UserError(f"include {file}, which is no mask: most of its pixels have other levels than two")
    marked: NDArray[np.bool_] = levels > top // 2
    return marked
