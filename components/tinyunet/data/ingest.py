"""Bring one class of DAGM2007 from wherever it is into a validated folder."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tinyunet.data.dagm import FOLDERS, class_folder, summary
from tinyunet.data.progress import say
from tinyunet.data.validate import Report, validate
from tinyunet.errors import UserError
from tinyunet.schema import read_json

SCHEMA_VERSION = 1


def ingest(source: str, out: Path, *, class_id: int) -> dict[str, Any]:
    """Copy, validate and describe one class; leave nothing behind when it is bad.

    Args:
        source: Folder (of DAGM2007, or of the class), .zip, s3://bucket/prefix, https://… or synthetic://.
        out: Folder that gets Train, Test, manifest.json, report.json and report.html. When it already holds
            the same content, nothing is done.
        class_id: 1 to 10.

    Returns:
        The manifest.

    Raises:
        UserError: if the source cannot be read or is not valid, or if `out` holds something else.
    """
    with part_folder(out) as part:
        stage(source, part, class_id)
        report = validate(part, class_id, synthetic=source.startswith("synthetic:"))
        if report.problems:
            raise UserError(summary(public(source), report.problems))
        manifest = describe(report, source)
        if is_done(out, manifest["digest"]):
            say(f"{out} already holds this dataset ({manifest['digest'][:12]}), nothing to do")
            return read_json(out / "manifest.json")
        (part / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        (part / "report.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n")
        part.rename(out)
    say(f"{out}: {_counts(report)}, digest {manifest['digest'][:12]}")
    return manifest


def stage(source: str, part: Path, class_id: int) -> None:
    """Put the files of one class into `part` in the official layout, unchecked."""
    if source.startswith("synthetic:"):
        from tinyunet.data.synthetic import generate, parse_source

        generate(part, class_id, parse_source(source))
    else:
        _stage_path(Path(source), part, class_id)


def _stage_path(path: Path, part: Path, class_id: int) -> None:
    folder = class_folder(path, class_id)
    for name in FOLDERS.values():
        if (folder / name).is_dir():
            shutil.copytree(folder / name, part / name)


@contextmanager
def part_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder beside `out` to work in; it is gone afterwards unless it was renamed to `out`."""
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_done(out: Path, digest: str) -> bool:
    """Tell whether `out` holds the dataset of that digest already.

    Raises:
        UserError: if it holds anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / "manifest.json").is_file():
        raise UserError(f"{out} exists and is not a dataset made here; choose another folder or remove it")
    held = read_json(out / "manifest.json").get("digest")
    if held != digest:
        raise UserError(
            f"{out} holds other content ({str(held)[:12]}, not {digest[:12]}); remove it or choose another"
        )
    return True


def describe(report: Report, source: str) -> dict[str, Any]:
    """Give the manifest of a valid dataset."""
    files = [
        {
            "split": item.sample.split,
            "name": item.sample.name,
            "image_sha256": item.image_sha256,
            "mask_sha256": item.mask_sha256,
            "defective": item.sample.defective,
        }
        for item in report.checked
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "source": public(source),
        "class_id": report.class_id,
        "digest": content_digest(files),
        "complete": report.complete,
        "synthetic": source.startswith("synthetic:"),
        "image_shape": list(report.shape),
        "splits": report.counts(),
        "files": files,
    }


def content_digest(files: list[dict[str, Any]]) -> str:
    """Hash the sorted lines `split name image_sha256 mask_sha256`: the same wherever the files come from."""
    lines = sorted(f"{f['split']} {f['name']} {f['image_sha256']} {f['mask_sha256']}\n" for f in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def public(source: str) -> str:
    """Give a source without what may be secret: user, password and query of a URL."""
    if not source.startswith(("http://", "https://", "s3://")):
        return source
    parts = urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _counts(report: Report) -> str:
    counts = report.counts().items()
    return ", ".join(f"{split} {n['images']} images ({n['defective']} defective)" for split, n in counts)
