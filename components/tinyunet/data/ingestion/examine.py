"""Read, check and write all samples of a listing, and give each one a split."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tinyunet.core.categories import DAGM
from tinyunet.core.console import parallel_map
from tinyunet.core.errors import UserError
from tinyunet.data.ingestion.official import check_dagm
from tinyunet.data.ingestion.options import IngestOptions
from tinyunet.data.ingestion.prepare import UNSPLIT, Preparation, PreparedSample
from tinyunet.data.ingestion.validate import (
    Report,
    check_kinds,
    check_learnable,
    find_contradictions,
    find_copies,
)
from tinyunet.data.layouts.base import Listing, Problem, SourceFile
from tinyunet.data.pictures.mask_kinds import MaskKind, decide
from tinyunet.data.pictures.mask_values import MaskValues, mask_values
from tinyunet.data.pictures.suffixes import SUFFIXES
from tinyunet.data.splits import SPLITS, SplitItem, make_splits


def examine(listing: Listing, folder: Path, options: IngestOptions, threads: int = 0) -> Report:
    """Prepare all samples in `folder`, choose their splits, and check the data set."""
    is_dagm = listing.layout == DAGM
    prepared, kind = _prepare(listing, folder, threads)
    problems = [*listing.problems, *(problem for item in prepared for problem in item.problems)]
    usable = tuple(item for item in prepared if not item.problems)
    said = (*listing.notes, *_note_unmasked(listing, options), *_note_ignored(listing))
    report = Report(listing, usable, notes=said, kind=kind)
    report = _with_splits(report, folder, options)
    repeated, leaked = find_copies(report.samples)
    problems += [*check_kinds(report.samples), *leaked]
    contradictions = find_contradictions(report.samples)
    if is_dagm:  # its images are as published
        report = replace(report, notes=(*report.notes, *map(str, contradictions)))
        return check_dagm(replace(report, problems=tuple(problems), warnings=tuple(repeated)))
    problems += contradictions
    if options.allow_partial:
        report = _leave_out(report, problems)
        problems = []
    reasons, notes = check_learnable(report)
    problems += [Problem(report.listing.category or "the data set", f"has {reason}") for reason in reasons]
    return replace(report, problems=tuple(problems), warnings=tuple(repeated), notes=(*report.notes, *notes))


def _prepare(listing: Listing, folder: Path, threads: int) -> tuple[list[PreparedSample], MaskKind | None]:
    """Prepare all samples; return the kind of the masks, too, of joined sources that of the last one."""
    if not listing.parts:
        kind = None if listing.layout == DAGM else _mask_kind(listing, threads)
        prepare = Preparation(folder, kind).prepare
        return parallel_map(prepare, listing.samples, "checking", threads=threads), kind
    prepared = []
    for part in listing.parts:
        items, kind = _prepare(part, folder, threads)
        types = [Report(part, (), kind=kind).defect_type(item) for item in items]
        prepared += [
            replace(item, sample=replace(item.sample, defect_type=type_))
            for item, type_ in zip(items, types, strict=True)
        ]
    return prepared, kind


def _note_unmasked(listing: Listing, options: IngestOptions) -> list[str]:
    """Return a note with the number of images that are clean because they have no mask."""
    names = [sample.image.name for sample in listing.samples if sample.mask is None]
    if options.unmasked != "clean" or not names:
        return []
    return [f"images without a mask count as clean: {len(names)}, such as {names[0]}"]


def _note_ignored(listing: Listing) -> list[str]:
    """Return a note if pictures of the source are not used."""
    pictures = [name for name in listing.ignored if name.lower().endswith(SUFFIXES)]
    if not pictures:
        return []
    return [f"pictures that belong to no sample and are ignored: {len(pictures)}, such as {pictures[0]}"]


def _mask_kind(listing: Listing, threads: int) -> MaskKind:
    """Find out of what kind the masks of a data set are; masks that cannot be read are reported later."""

    def values(file: SourceFile) -> MaskValues | None:
        try:
            return mask_values(file.read())
        except (UserError, OSError):
            return None

    files = [sample.mask for sample in listing.samples if sample.mask]
    found = parallel_map(values, files, "reading masks", threads=threads)
    return decide(item for item in found if item is not None)


def _leave_out(report: Report, problems: Sequence[Problem]) -> Report:
    """Return the report without the files that have a fault, which become notes."""
    faulty = {problem.file for problem in problems}
    samples = [item for item in report.samples if item.sample.image.name not in faulty]
    notes = [f"{problem}; it is left out" for problem in problems]
    return replace(report, samples=tuple(samples), notes=(*report.notes, *notes))


def _with_splits(report: Report, folder: Path, options: IngestOptions) -> Report:
    """Choose the splits of a data set that has none, and move the files to their folders."""
    splits = [item.sample.split for item in report.samples]
    origin, given = "given", set(splits)
    if given == {"train", "validation"}:
        origin = "given; the validation images are the test images, because there are no others"
        splits = ["test" if split == "validation" else split for split in splits]
    elif report.listing.layout != DAGM and ("" in given or not {"train", "test"} <= given):
        origin = f"made by hash, {options.split}"
        report = _with_unique_names(report, folder)
        if given - {""}:
            names = ", ".join(sorted(given - {""}))
            note = f"the given splits {names} are not used: train and test are needed"
            report = replace(report, notes=(*report.notes, note))
        chosen = make_splits([_split_item(report, item) for item in report.samples], options.fractions())
        splits = [chosen[item.sample.name] for item in report.samples]
    moved = [_moved(item, split, folder) for item, split in zip(report.samples, splits, strict=True)]
    moved.sort(key=lambda item: (SPLITS.index(item.sample.split), item.sample.name))
    return replace(report, samples=tuple(moved), split_origin=origin)


def _with_unique_names(report: Report, folder: Path) -> Report:
    """Put the given split before the names that occur in several splits, which are divided anew."""
    counts = Counter(item.sample.name for item in report.samples)
    samples = [
        _renamed(item, folder) if counts[item.sample.name] > 1 and item.sample.split else item
        for item in report.samples
    ]
    return replace(report, samples=tuple(samples))


def _renamed(item: PreparedSample, folder: Path) -> PreparedSample:
    name = f"{item.sample.split}-{item.sample.name}"

    def rename(path: str) -> str:
        renamed = Path(path).with_name(f"{name}.png")
        if (folder / renamed).exists():
            raise UserError(f"two images have the name {name}; rename one of them")
        (folder / path).rename(folder / renamed)
        return renamed.as_posix()

    mask = rename(item.mask) if item.mask else None
    return replace(item, sample=replace(item.sample, name=name), image=rename(item.image), mask=mask)


def _split_item(report: Report, item: PreparedSample) -> SplitItem:
    stratum = f"{item.defective:d} {report.defect_type(item)}"
    keys = {f"pixels {item.pixels_sha256}"} | ({f"group {item.sample.group}"} if item.sample.group else set())
    return SplitItem(item.sample.name, stratum, frozenset(keys))


def _moved(item: PreparedSample, split: str, folder: Path) -> PreparedSample:
    if item.sample.split == split:
        return item
    places = [
        path and path.replace(f"/{item.sample.split or UNSPLIT}/", f"/{split}/", 1)
        for path in (item.image, item.mask)
    ]
    for old, new in zip((item.image, item.mask), places, strict=True):
        if old and new:
            (folder / new).parent.mkdir(parents=True, exist_ok=True)
            (folder / old).rename(folder / new)
    return replace(item, sample=replace(item.sample, split=split), image=places[0] or "", mask=places[1])
