"""The layout of a source: the one that recognises its files, or the one that the user names."""

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePosixPath

from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.errors import UserError
from tinyunet.data.layouts import beside, dagm, dagm_development, hints, mvtec, pairs, table
from tinyunet.data.layouts.annotated import annotations, label_studio, labelme, rle, supervisely, via, yolo
from tinyunet.data.layouts.base import Layout, LayoutOptions, Listing
from tinyunet.data.sources.trees import CachedTree, Tree

LAYOUTS: tuple[Layout, ...] = (
    *(dagm, dagm_development, pairs, beside, mvtec, table),
    *(labelme, annotations, yolo, rle, label_studio, supervisely, via),
)


def read_listing(tree: Tree, options: LayoutOptions) -> Listing:
    """Return the samples of a source.

    Raises:
        UserError: if no layout or several fit, the source does not have the category, or nothing can be
            listed.
    """
    layout = find_layout(tree, options)
    # A folder of DAGM2007 may hold one class without naming it, so that layout checks the category itself.
    if options.category and layout is not dagm and not layout.categories(tree):
        raise UserError(
            f"category is {options.category!r}, but {tree.location} has no categories (layout "
            f"{layout.NAME}); leave the category out"
        )
    if options.unmasked != LayoutOptions.unmasked and layout not in (pairs, beside, labelme):
        raise UserError(
            f"unmasked is {options.unmasked!r}, but layout {layout.NAME} says itself which images are clean; "
            "leave unmasked out"
        )
    listing = layout.list_samples(tree, options)
    if layout in (table, dagm) or options.layout:
        return listing
    reasons = {name: reason for name, reason in hints.refused_tables(tree).items() if name in listing.ignored}
    refused = [f"not used as a table: {reason}" for reason in reasons.values()]
    return replace(listing, notes=(*listing.notes, *refused))


def find_categories(tree: Tree, options: LayoutOptions) -> tuple[str, ...]:
    """Return the categories of a source, sorted; empty if it has none.

    Raises:
        UserError: if no layout or several fit.
    """
    return find_layout(tree, options).categories(tree)


def find_layout(tree: Tree, options: LayoutOptions) -> Layout:
    """Return the layout that the user names, or the only one that recognises the source.

    Raises:
        UserError: if there is no such layout, or not exactly one fits.
    """
    names = [layout.NAME for layout in LAYOUTS]
    given = options.layout or ("pairs" if options.images or options.masks else "")
    if given and given not in names:
        raise UserError(f"--layout is {given!r}; expected one of {', '.join(names)}")
    if given != "pairs" and (options.images or options.masks):
        raise UserError(
            f"--images and --masks are given with --layout {given}; they belong to --layout pairs"
        )
    if given:
        return LAYOUTS[names.index(given)]
    if not tree.names:
        raise UserError(f"{tree.location} holds no files; expected images and masks")
    if _is_ingested(tree):
        raise UserError(
            f"{tree.location} holds images that `tinyunet ingest` wrote; continue with `tinyunet convert`, "
            "or give the folder that ingest read (--layout pairs reads these images again)"
        )
    cached = CachedTree(tree)
    fitting: list[Layout] = [layout for layout in LAYOUTS if layout.recognise(cached)]
    if table in fitting:  # it names the images and masks, which may lie as in another layout
        return table
    if rle in fitting and {pairs, beside} & set(fitting):  # competitions have masks as files and as runs
        fitting.remove(rle)
    if len(fitting) > 1:
        texts = [layout.NAME for layout in fitting]
        raise UserError(
            f"{tree.location} fits the layouts {', '.join(texts[:-1])} and {texts[-1]}; choose one with "
            f"--layout {texts[0]} or --layout {texts[-1]}"
        )
    # Where only the folders fit, the message of `pairs` about the names of the files helps more.
    if not fitting and (pairs.has_folders(tree) or any(pairs.find_loosely(tree))):
        return pairs
    if not fitting:
        seen = hints.find(tree)
        raise UserError(
            f"{tree.location} has no known layout ({_describe(tree)}{seen and '; '}{seen}); expected one of "
            f"{', '.join(names)}, or say where the files are with {pairs.PATTERNS}"
        )
    return fitting[0]


def _is_ingested(tree: Tree) -> bool:
    if RawManifest.FILE not in tree.names:
        return False
    with suppress(OSError, UserError):
        return b'"split_origin"' in tree.read(RawManifest.FILE)
    return False


def _describe(tree: Tree) -> str:
    """Return the numbers of files by extension, and the first folders: `12 .jpg, 1 .txt in a, b and c`."""
    extensions = Counter(PurePosixPath(name).suffix.lower() or "without extension" for name in tree.names)
    counts = ", ".join(f"{count} {extension}" for extension, count in extensions.most_common(4))
    folders = sorted({str(PurePosixPath(name).parent) for name in tree.names} - {"."})
    more = f" and {len(folders) - 3} more folders" if len(folders) > 3 else ""
    return f"{counts} in {', '.join(folders[:3])}{more}" if folders else f"{counts} without folders"
