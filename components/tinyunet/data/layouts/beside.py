"""Layout `beside`: the mask is in the folder of its image, with another end (`_mask`) or extension."""

from collections import defaultdict

from tinyunet.core.errors import UserError
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
    is_picture,
    mask_stem,
    split_of,
    stem_of,
    suffix_of,
)
from tinyunet.data.layouts.split_folders import with_splits
from tinyunet.data.layouts.split_lists import with_lists
from tinyunet.data.layouts.type_names import read_type_names
from tinyunet.data.pictures.suffixes import SUFFIXES
from tinyunet.data.sources.trees import Tree

NAME = "beside"


def recognise(tree: Tree) -> bool:
    """Return whether at least one mask is in the folder of its image."""
    return any(_by_suffix(files) or _by_extension(files) for files in _folders(tree).values())


def categories(tree: Tree) -> tuple[str, ...]:
    """Return no categories: this layout has none."""
    return ()


def list_samples(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples; the folder that differs between them is the type of the defect.

    Raises:
        UserError: if no image has a mask beside it.
    """
    images, masks = with_splits(*_find(tree))
    unlabelled, notes = without_masks(images, masks)
    matches, problems = match_pictures([image for image in images if image.file not in unlabelled], masks)
    example = next(((match.image.file, match.mask.file) for match in matches if match.mask), None)
    if example is None:
        raise UserError(
            f"{tree.location} has no image with a mask beside it; expected files such as part.jpg and "
            "part_mask.png, or part.jpg and part.png"
        )
    matches, list_notes = with_lists(tree, matches)
    image, mask = (name.rpartition("/")[2] for name in example)
    expected = f"a mask beside it, as {mask} is that of {example[0]}"
    samples, missing = make_samples(tree, matches, expected, options)
    return Listing(
        layout=NAME,
        found=f"masks beside their images, such as {image} and {mask}: {count_text(samples)}",
        category=options.category,
        samples=sort_samples(samples),
        problems=(*missing, *problems),
        notes=(*list_notes, *notes),
        ignored=tuple(name for name in tree.names if not is_picture(name)),
        type_names=read_type_names(tree),
    )


def _find(tree: Tree) -> tuple[list[Picture], list[Picture]]:
    """Return the images and the masks; if one mask has an end such as `_mask`, extensions say nothing."""
    folders = _folders(tree)
    root = common_folder(name for files in folders.values() for name in files)
    by_suffix = any(_by_suffix(files) for files in folders.values())
    images, masks = list[Picture](), list[Picture]()
    for files in folders.values():
        mask_of = _by_suffix(files) if by_suffix else _by_extension(files)
        stems = {mask: stem_of(image) for image, mask in mask_of.items()}
        if by_suffix:  # masks whose image is missing
            lonely = [name for name in files if name not in stems and name not in mask_of]
            stems |= {name: _image_stem(name) for name in lonely if _image_stem(name)}
        masks += [_picture(mask, stem, root) for mask, stem in stems.items()]
        images += [_picture(name, stem_of(name), root) for name in files if name not in stems]
    return images, masks


def _folders(tree: Tree) -> dict[str, list[str]]:
    """Return the pictures by folder."""
    folders = defaultdict[str, list[str]](list)
    for name in tree.names:
        if is_picture(name):
            folders[name.rpartition("/")[0]].append(name)
    return folders


def _by_suffix(files: list[str]) -> dict[str, str]:
    """Return the masks such as `x_mask.png` by their images `x.jpg`."""
    by_stem = {stem_of(name).lower(): name for name in files}
    masks = {name: _image_stem(name).lower() for name in files}
    return {by_stem[stem]: name for name, stem in masks.items() if stem in by_stem}


def _image_stem(mask: str) -> str:
    """Return the stem of the image of a mask; empty for other names, also for the image `seam_seg_01`."""
    stem = stem_of(mask)
    return "" if stem[-1:].isdigit() else mask_stem(stem)


def _by_extension(files: list[str]) -> dict[str, str]:
    """Return the masks such as `x.png` by their images `x.jpg`; its extension is later in SUFFIXES."""
    by_stem = defaultdict[str, list[str]](list)
    for name in files:
        by_stem[stem_of(name).lower()].append(name)
    pairs = [sorted(names, key=_extension) for names in by_stem.values() if len(names) == 2]
    return {image: mask for image, mask in pairs if _extension(image) != _extension(mask)}


def _extension(name: str) -> int:
    return SUFFIXES.index(suffix_of(name))


def _picture(name: str, stem: str, root: str) -> Picture:
    folders = folders_of(name.removeprefix(root))
    split = next((split_of(folder) for folder in folders if split_of(folder)), "")
    return Picture(name, stem, split, tuple(folder for folder in folders if not split_of(folder)))
