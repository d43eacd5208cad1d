"""Bring one class of DAGM2007 from wherever it is into a validated folder."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tinyunet.core.console import say
from tinyunet.core.errors import UserError, require
from tinyunet.core.files import read_json, scratch_folder
from tinyunet.data.dagm import CLASSES, read_class, summary
from tinyunet.data.existing import already_holds
from tinyunet.data.report import render
from tinyunet.data.sources import stage, without_credentials
from tinyunet.data.validate import Report, validate

SCHEMA_VERSION = 1


def ingest(source: str, out: Path, *, class_id: int) -> dict[str, Any]:
    """Copy, validate and describe one class; leave nothing behind when it is bad.

    Args:
        source: Folder (of ClassN or ClassN.zip, or of the class), .zip, s3://bucket/prefix, https://… or
            synthetic://.
        out: Folder that gets Train, Test, manifest.json, report.json and report.html. When it already holds
            the same content, nothing is done.
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
        if already_holds(out, manifest["digest"]):
            verify(out)
            say(f"{out} already holds this dataset ({manifest['digest'][:12]}), nothing to do")
            return read_json(out / "manifest.json")
        for name in report.ignored:
            (part / name).unlink()
        (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        (part / "report.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
        (part / "report.html").write_text(render(report, manifest), encoding="utf-8")
        part.rename(out)
    say(f"{out}: {_counts(report)}, digest {manifest['digest'][:12]}")
    if report.warnings:
        say(f"images that repeat another of their split: {len(report.warnings)}, named in {out}/report.html")
    return manifest


def read_raw(raw: Path) -> dict[str, Any]:
    """Read the manifest of an ingested dataset.

    Raises:
        UserError: if there is none, or it has another schema.
    """
    if not (raw / "manifest.json").is_file():
        raise UserError(f"{raw} holds no manifest.json; expected what `tinyunet ingest` makes")
    manifest = read_json(raw / "manifest.json")
    version = manifest.get("schema_version")
    if "files" not in manifest or version != SCHEMA_VERSION:
        raise UserError(
            f"{raw} has a manifest of schema {version}, not of ingested images ({SCHEMA_VERSION}); "
            "ingest again"
        )
    return manifest


def verify(out: Path) -> None:
    """Compare every file of an ingested dataset with its manifest.

    Raises:
        UserError: naming the first file that is missing or has changed.
    """
    samples = {(s.split, s.name): s for s in read_class(out)}
    for entry in read_json(out / "manifest.json")["files"]:
        sample = samples.get((entry["split"], entry["name"]))
        hashes = None if sample is None else (_sha256(sample.image_path), _sha256(sample.mask_path))
        if hashes != (entry["image_sha256"], entry["mask_sha256"]):
            raise UserError(
                f"{out}: {entry['split']} image {entry['name']} or its mask is missing or has changed; "
                "remove the folder and ingest again"
            )


def describe(report: Report, source: str) -> dict[str, Any]:
    """Give the manifest of a valid dataset."""
    files = [
        {
            "split": item.sample.split,
            "name": item.sample.name,
            "image_sha256": item.image_sha256,
            "pixels_sha256": item.pixels_sha256,
            "mask_sha256": item.mask_sha256,
            "defective": item.sample.defective,
        }
        for item in report.checked
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "source": without_credentials(source),
        "class_id": report.class_id,
        "digest": content_digest(files),
        "complete": report.complete,
        "synthetic": report.synthetic,
        "image_shape": list(report.shape),
        "splits": report.counts(),
        "files": files,
    }


def content_digest(files: list[dict[str, Any]]) -> str:
    """Hash the sorted lines `split name image_sha256 mask_sha256`: the same wherever the files come from."""
    lines = sorted(f"{f['split']} {f['name']} {f['image_sha256']} {f['mask_sha256']}\n" for f in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _counts(report: Report) -> str:
    counts = report.counts().items()
    return ", ".join(f"{split} {n['images']} images ({n['defective']} defective)" for split, n in counts)


def _sha256(path: Path | None) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None
