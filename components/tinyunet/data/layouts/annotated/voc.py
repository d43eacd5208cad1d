"""Pascal VOC without a label map: the values of the masks are the labels.

Its masks are read as they are, because Datumaro takes the colours for the labels of the published VOC2012.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from tinyunet.core.errors import UserError
from tinyunet.data.layouts.base import LayoutOptions, Listing, Problem, SourceSample
from tinyunet.data.layouts.matching import count_text, sort_samples, source_file
from tinyunet.data.layouts.names import UniqueNames, folders_of, is_picture, sample_name, split_of, stem_of
from tinyunet.data.layouts.type_names import read_type_names
from tinyunet.data.sources.trees import Tree, composed

MASKS, IMAGES = "SegmentationClass", "JPEGImages"


def list_samples(tree: Tree, options: LayoutOptions, files: Sequence[str]) -> Listing:
    """Return the samples: the masks of the lists in ImageSets, or all masks.

    Args:
        tree: The source.
        options: What the user says.
        files: The masks and the lists, of one folder or several.

    Raises:
        UserError: if no mask has an image.
    """
    masks = [name for name in files if MASKS in folders_of(name) and is_picture(name)]
    splits = _splits(tree, [name for name in files if MASKS not in folders_of(name)])
    names, samples, problems = UniqueNames(), list[SourceSample](), list[Problem]()
    images = defaultdict[str, str](str)
    images |= {_key(name): name for name in tree.names if is_picture(name) and IMAGES in folders_of(name)}
    for mask in masks:
        key, split = _key(mask), splits.get(_key(mask), "")
        if splits and key not in splits:
            continue
        if not images[key]:
            problems.append(Problem(mask, f"is a mask without an image; expected one in {IMAGES}"))
            continue
        image, mask_file = source_file(tree, images[key]), source_file(tree, mask)
        samples.append(SourceSample(names.add(split, sample_name([stem_of(mask)])), image, mask_file, split))
    if not samples:
        raise UserError(f"{tree.location} has no image in {IMAGES} with a mask of its name in {MASKS}")
    used = {file.name for sample in samples for file in (sample.image, sample.mask) if file} | set(files)
    return Listing(
        layout="annotations",
        found=f"Pascal VOC annotations without labelmap.txt: {count_text(samples)}",
        category=options.category,
        samples=sort_samples(samples),
        problems=tuple(problems),
        ignored=tuple(name for name in tree.names if name not in used),
        type_names=read_type_names(tree),
    )


def _key(name: str) -> str:
    """Return the path of a mask or image with the folder of its kind left out, in lower case."""
    parts = [part for part in folders_of(name) if part not in (MASKS, IMAGES)]
    return "/".join([*parts, stem_of(name)]).lower()


def _splits(tree: Tree, lists: Sequence[str]) -> dict[str, str]:
    """Return the split of every listed image; empty without lists."""
    found: dict[str, str] = {}
    for name in lists:
        root = name.partition("ImageSets/")[0]
        for line in composed(tree.read(name).decode("utf-8", "replace")).splitlines():
            if line.split():
                found[f"{root}{line.split()[0]}".lower()] = split_of(PurePosixPath(name).stem)
    return found
