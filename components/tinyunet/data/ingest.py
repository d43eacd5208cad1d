"""Copy one class of DAGM2007 from its source into a validated folder."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from tinyunet.core.console import say
from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.errors import UserError, require
from tinyunet.core.files import scratch_folder
from tinyunet.data.layouts.dagm import CLASSES, read_class, summarize
from tinyunet.data.existing import already_holds
from tinyunet.data.report import render
from tinyunet.data.sources.source import remove_credentials, stage
from tinyunet.data.validate import Report, validate


def ingest(source: str, out: Path, *, class_id: int) -> RawManifest:
    """Copy, validate and describe one class; if a file has a fault, nothing is written.

    Args:
        source: A folder (the class itself, or a folder that contains ClassN or ClassN.zip), a .zip,
            s3://bucket/prefix, https://… or synthetic://.
        out: Folder for Train, Test, manifest.json, report.json and report.html. If it already holds the same
            content, nothing is done.
        class_id: DAGM2007 class, 1 to 10.

    Returns:
        The manifest.

    Raises:
        UserError: if the source cannot be read or is not valid, or if `out` holds something else.
    """
    require(class_id in CLASSES, "class_id", class_id, "1 to 10")
    with scratch_folder(out) as scratch:
        report = validate(scratch, class_id, stage(source, scratch, class_id))
        if report.problems:
            raise UserError(summarize(remove_credentials(source), report.problems))
        manifest = build_manifest(report, source)
        if already_holds(out, RawManifest, manifest.digest):
            verify(out)
            say(f"{out} already holds this dataset ({manifest.digest[:12]}), nothing to do")
            return RawManifest.read(out)
        for name in report.ignored:
            (scratch / name).unlink()
        manifest.write(scratch)
        (scratch / "report.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
        (scratch / "report.html").write_text(render(report, manifest), encoding="utf-8")
        scratch.rename(out)
    say(f"{out}: {_counts_text(report)}, digest {manifest.digest[:12]}")
    if report.warnings:
        say(f"images that repeat another image of their split: {len(report.warnings)}; see {out}/report.html")
    for note in report.notes:
        say(f"note: {note}")
    return manifest


def verify(out: Path) -> None:
    """Check every file of an ingested dataset against its manifest.

    Raises:
        UserError: if a file is missing or has changed; the message names the first of these files.
    """
    samples = {(s.split, s.name): s for s in read_class(out)}
    for entry in RawManifest.read(out).files:
        sample = samples.get((entry.split, entry.name))
        hashes = None if sample is None else (_sha256(sample.image_path), _sha256(sample.mask_path))
        if hashes != (entry.image_sha256, entry.mask_sha256):
            raise UserError(
                f"{out}: {entry.split} image {entry.name} or its mask is missing or has changed; "
                "remove the folder and ingest again"
            )


def build_manifest(report: Report, source: str) -> RawManifest:
    """Return the manifest of a dataset without problems."""
    files = [
        RawFile(
            split=item.sample.split,
            name=item.sample.name,
            image_sha256=item.image_sha256,
            pixels_sha256=item.pixels_sha256,
            mask_sha256=item.mask_sha256,
            defective=item.sample.defective,
        )
        for item in report.checked
    ]
    return RawManifest(
        source=remove_credentials(source),
        class_id=report.class_id,
        digest=content_digest(files),
        complete=report.complete,
        synthetic=report.synthetic,
        image_shape=report.shape,
        splits=report.counts(),
        files=tuple(files),
    )


def content_digest(files: Sequence[RawFile]) -> str:
    """Return the SHA-256 over the sorted lines `split name image_sha256 mask_sha256`."""
    lines = sorted(f"{f.split} {f.name} {f.image_sha256} {f.mask_sha256}\n" for f in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _counts_text(report: Report) -> str:
    counts = report.counts().items()
    return ", ".join(f"{split} {n.images} images ({n.defective} defective)" for split, n in counts)


def _sha256(path: Path | None) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None
