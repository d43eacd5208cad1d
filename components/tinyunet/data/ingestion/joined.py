"""The listing of a source, or the one listing of several sources that are joined by `+`."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tinyunet.core.console import say
from tinyunet.data.ingestion.options import IngestOptions
from tinyunet.data.layouts.base import LayoutOptions, Listing, SourceFile, SourceSample
from tinyunet.data.layouts.find import find_categories, read_listing
from tinyunet.data.layouts.matching import sort_samples
from tinyunet.data.layouts.names import UniqueNames
from tinyunet.data.sources.joined import split_sources
from tinyunet.data.sources.source import open_source, remove_credentials
from tinyunet.data.sources.trees import Tree

NAME = "joined"


@contextmanager
def open_listing(source: str, scratch: Path, options: IngestOptions) -> Iterator[Listing]:
    """Yield the samples of a source, and say what was found.

    Of joined sources, the last one is the data set that the others are added to: the options of the layout
    are about it, and it gives the name and the category.

    Args:
        source: One source, or several joined by `+`.
        scratch: Folder for what is generated, downloaded or unpacked; it is deleted at the end.
        options: What the user says about the data set.

    Raises:
        UserError: if a source cannot be read or has no known layout.
    """
    parts = split_sources(source)
    with ExitStack() as stack:
        listings = []
        for number, part in enumerate(parts, start=1):
            tree = stack.enter_context(open_source(part, scratch / str(number), category=options.category))
            listing = read_part(tree, options, is_last=number == len(parts))
            say(f"{remove_credentials(part)}: {listing.found}")
            listings.append(listing)
        yield listings[0] if len(parts) == 1 else join(listings, [remove_credentials(part) for part in parts])


def read_part(tree: Tree, options: IngestOptions, *, is_last: bool) -> Listing:
    """Return the listing of one of several joined sources; the layout of all but the last one is found.

    Raises:
        UserError: as `read_listing`.
    """
    if is_last:
        return read_listing(tree, options)
    category = options.category if find_categories(tree, LayoutOptions()) else ""
    return read_listing(tree, LayoutOptions(category=category))


def join(listings: Sequence[Listing], locations: Sequence[str]) -> Listing:
    """Return the samples of several sources as one listing; names that collide get a number.

    If a source has the splits train and test, the images of sources without splits go to train: the test
    stays the one that earlier models were compared on.

    Args:
        listings: The sources; the last one keeps its names.
        locations: Their names in messages.
    """
    has_splits = any({"train", "test"} <= {sample.split for sample in one.samples} for one in listings)
    unique, parts = UniqueNames(), list[Listing]()
    for listing, location in reversed(list(zip(listings, locations, strict=True))):
        parts.insert(0, _renamed(listing, location, unique, "train" if has_splits else ""))
    base = parts[-1]
    return Listing(
        layout=NAME,
        found=" + ".join(part.found for part in parts),
        category=base.category or next((part.category for part in parts if part.category), ""),
        samples=sort_samples(sample for part in parts for sample in part.samples),
        problems=tuple(problem for part in parts for problem in part.problems),
        notes=tuple(note for part in parts for note in part.notes),
        ignored=tuple(name for part in parts for name in part.ignored),
        type_names=base.type_names,
        parts=tuple(parts),
    )


def _renamed(listing: Listing, location: str, unique: UniqueNames, split: str) -> Listing:
    """Return a listing with unique names of samples, and with the source in the names of files."""

    def file(one: SourceFile) -> SourceFile:
        return replace(one, name=f"{location}/{one.name}")

    def sample(one: SourceSample) -> SourceSample:
        chosen = one.split or split
        name, mask = unique.add(chosen, one.name), file(one.mask) if one.mask else None
        return replace(one, name=name, image=file(one.image), mask=mask, split=chosen)

    return replace(
        listing,
        samples=tuple(map(sample, listing.samples)),
        problems=tuple(replace(one, file=f"{location}/{one.file}") for one in listing.problems),
        ignored=tuple(f"{location}/{name}" for name in listing.ignored),
    )
