"""Read a data set of any layout, check it, and write it in the one form that all later steps know."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tinyunet.core.console import say
from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.errors import UserError
from tinyunet.core.files import scratch_folder
from tinyunet.data.existing import already_holds
from tinyunet.data.ingestion.examine import examine
from tinyunet.data.ingestion.joined import open_listing, read_part
from tinyunet.data.ingestion.options import IngestOptions, name_of
from tinyunet.data.ingestion.report import render
from tinyunet.data.ingestion.validate import Report
from tinyunet.data.layouts.base import summarize
from tinyunet.data.layouts.find import find_categories
from tinyunet.data.raw import read_dataset, verify
from tinyunet.data.sources.joined import split_sources
from tinyunet.data.sources.source import open_source, remove_credentials

REMOTE_THREADS = 16  # objects of a bucket that are read at the same time; a thread mostly waits


def ingest(
    source: str, out: Path, options: IngestOptions | None = None, *, category: str = ""
) -> RawManifest:
    """Read, check and describe a data set; after a fault nothing is written.

    Args:
        source: A folder, an archive, s3://bucket/prefix, https://… or synthetic://; or several joined by `+`.
        out: Folder for images, masks, dataset.json, report.json and report.html. If it already holds the same
            content, nothing is done.
        options: What the user says about the data set.
        category: Short form of `IngestOptions(category=…)`.

    Returns:
        The description.

    Raises:
        UserError: if the source cannot be read or is not valid, or if `out` holds something else.
    """
    options = options or IngestOptions(category=category)
    options.check()
    location = remove_credentials(source)
    with scratch_folder(out) as scratch:
        folder = scratch / "dataset"
        with open_listing(source, scratch / "source", options) as listing:
            name = name_of(source, (listing.parts or (listing,))[-1].layout, options.name)
            threads = REMOTE_THREADS if "s3://" in location else 0
            report = examine(listing, folder, options, threads)
        if report.problems:
            raise UserError(summarize(location, report.problems))
        manifest = build_manifest(report, source, options, name)
        if already_holds(out, RawManifest, manifest.digest):
            _require_same_options(out, manifest)
            verify(out)
            say(f"{out} already holds this data set ({manifest.digest[:12]}), nothing to do")
            return read_dataset(out)
        manifest.write(folder)
        (folder / "report.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
        page = render(report, manifest, folder)
        (folder / "report.html").write_text(page, encoding="utf-8", errors="backslashreplace")
        folder.rename(out)
    _summarize(out, report, manifest)
    return manifest


def _require_same_options(out: Path, manifest: RawManifest) -> None:
    """Raise an error if a folder has the same images and masks, but another description of them."""
    existing = read_dataset(out)
    for key in ("dataset", "category", "channels", "layout", "split_origin"):
        if (old := getattr(existing, key)) != (new := getattr(manifest, key)):
            raise UserError(
                f"{out} holds these images with {key}={old!r}, not {new!r}; delete it or choose another --out"
            )
    known = {(file.split, file.name): file for file in existing.files}
    for file in manifest.files:
        old_file = known[file.split, file.name]
        for key in ("defective", "defect_type", "group"):
            if (old := getattr(old_file, key)) != (new := getattr(file, key)):
                raise UserError(
                    f"{out} holds the image {file.name} with {key}={old!r}, not {new!r}; delete it or choose "
                    "another --out"
                )


def check_local(source: str, options: IngestOptions) -> None:
    """Check that the layout of a local folder or .zip can be read; the images are not read.

    Raises:
        UserError: if it cannot be read.
    """
    parts = split_sources(source)
    for number, part in enumerate(parts, start=1):
        if not Path(part).is_dir() and not part.lower().endswith(".zip"):
            continue  # the archive would have to be unpacked
        with tempfile.TemporaryDirectory() as folder, open_source(part, Path(folder) / "source") as tree:
            read_part(tree, options, is_last=number == len(parts))


def find_all_categories(source: str, options: IngestOptions) -> tuple[str, ...]:
    """Return the categories of a source, or of the last of several joined by `+`.

    Raises:
        UserError: if the source cannot be read or has no categories.
    """
    source = split_sources(source)[-1]
    if source.startswith("synthetic://"):
        return tuple(f"class{number}" for number in range(1, 11))
    with tempfile.TemporaryDirectory() as folder, open_source(source, Path(folder) / "source") as tree:
        found = find_categories(tree, options)
    if not found:
        raise UserError(f"{remove_credentials(source)} has no categories; leave CATEGORY=all out")
    return found


def build_manifest(report: Report, source: str, options: IngestOptions, name: str) -> RawManifest:
    """Return the description of a data set of this name, without problems."""
    samples = report.samples
    files = [
        RawFile(
            split=item.sample.split,
            name=item.sample.name,
            image=item.image,
            mask=item.mask,
            image_sha256=item.image_sha256,
            pixels_sha256=item.pixels_sha256,
            mask_sha256=item.mask_sha256,
            defective=item.defective,
            defect_type=report.defect_type(item),
            group=item.sample.group,
        )
        for item in samples
    ]
    colour = any(item.colour for item in samples)
    return RawManifest(
        source=remove_credentials(source),
        layout=report.listing.layout,
        options=options.changed(),
        dataset=name,
        category=report.listing.category,
        digest=content_digest(files),
        complete=report.complete,
        synthetic=report.synthetic,
        channels=(3 if colour else 1) if options.channels == "auto" else int(options.channels),
        bits=max(item.bits for item in samples),
        levels=(min(item.levels[0] for item in samples), max(item.levels[1] for item in samples)),
        image_shape=report.shape,
        split_origin=report.split_origin,
        pixels=tuple(sorted({item.kind for item in samples} | {n for i in samples for n in i.pixel_notes})),
        masks=report.masks(),
        notes=report.notes,
        splits=report.counts(),
        files=tuple(files),
    )


def content_digest(files: Sequence[RawFile]) -> str:
    """Return the SHA-256 over the sorted lines `split name image_sha256 mask_sha256`."""
    lines = sorted(f"{f.split} {f.name} {f.image_sha256} {f.mask_sha256}\n" for f in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _summarize(out: Path, report: Report, manifest: RawManifest) -> None:
    counts = ", ".join(
        f"{split} {n.images} images ({n.defective} defective)" for split, n in manifest.splits.items()
    )
    say(f"{out}: {counts}, digest {manifest.digest[:12]}")
    if report.kind:
        say(f"masks: {report.masks()}")
    if report.warnings:
        say(f"images that repeat another image of their split: {len(report.warnings)}; see {out}/report.html")
    for note in report.notes:
        say(f"note: {note}")
