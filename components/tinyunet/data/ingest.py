"""Copy one class of DAGM2007 from its source into a validated folder."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from tinyunet.core.console import say
from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.errors import UserError, require
from tinyunet.core.files import scratch_folder
from tinyunet.data.dagm import CLASSES, read_class, summary
from tinyunet.data.existing import already_holds
from tinyunet.data.report import render
from tinyunet.data.sources import stage, without_credentials
from tinyunet.data.validate import Report, validate


def ingest(source: str, out: Path, *, class_id: int) -> RawManifest:
    """Copy, validate and describe one class; a class with faults leaves no files behind.

    Args:
        source: Folder (of ClassN or ClassN.zip, or of the class), .zip, s3://bucket/prefix, https://… or
            synthetic://.
        out: Folder for Train, Test, manifest.json, report.json and report.html. If it already holds the same
            content, nothing is done.
        class_id: 1 to 10.

    Returns:
        The manifest.

    Raises:
        UserError: if the source cannot be read or is not valid, or if `out` holds something else.
    """
    require(class_id in CLASSES, "class_id", class_id, "1 to 10")
    with scratch_folder(out) as part:
        stage(source, part, class_id)
        report = validate(part, class_id)
        if report.problems:
            raise UserError(summary(without_credentials(source), report.problems))
        manifest = describe(report, source)
        if already_holds(out, RawManifest, manifest.digest):
            verify(out)
            say(f"{out} already holds this dataset ({manifest.digest[:12]}), nothing to do")
            return RawManifest.read(out)
        for name in report.ignored:
            (part / name).unlink()
        manifest.write(part)
        (part / "report.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
        (part / "report.html").write_text(render(report, manifest), encoding="utf-8")
        part.rename(out)
    say(f"{out}: {_counts(report)}, digest {manifest.digest[:12]}")
    if report.warnings:
        say(f"images that repeat another of their split: {len(report.warnings)}, named in {out}/report.html")
    return manifest


def verify(out: Path) -> None:
    """Check every file of an ingested dataset against its manifest.

    Raises:
        UserError: with the first file that is missing or has changed.
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


def describe(report: Report, source: str) -> RawManifest:
    """Return the manifest of a valid dataset."""
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
        source=without_credentials(source),
        class_id=report.class_id,
        digest=content_digest(files),
        complete=report.complete,
        synthetic=report.synthetic,
        image_shape=report.shape,
        splits=report.counts(),
        files=tuple(files),
    )


def content_digest(files: Sequence[RawFile]) -> str:
    """Return the SHA-256 over the sorted lines `split name image_sha256 mask_sha256`, for any source."""
    lines = sorted(f"{f.split} {f.name} {f.image_sha256} {f.mask_sha256}\n" for f in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _counts(report: Report) -> str:
    counts = report.counts().items()
    return ", ".join(f"{split} {n.images} images ({n.defective} defective)" for split, n in counts)


def _sha256(path: Path | None) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None
