"""Reading of the folder that `ingest` writes, also in the form of version 0.1.0."""

from pathlib import Path

from tinyunet.core.documents.base import parse_json
from tinyunet.core.documents.raw import RawFile, RawManifest
from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path, file_sha256

OLD_FILE = "manifest.json"  # of version 0.1.0, beside the folders Train and Test
SOURCES = "sources.json"  # the copy of the description, beside records and in evaluations


def read_dataset(folder: Path) -> RawManifest:
    """Read the description of ingested images.

    Raises:
        UserError: if the folder is not one that `ingest` wrote, or a file of its description does not fit.
    """
    if (folder / RawManifest.FILE).is_file() or not (folder / OLD_FILE).is_file():
        return RawManifest.read(folder)
    text = (folder / OLD_FILE).read_bytes()
    manifest = RawManifest.parse(text, str(folder / OLD_FILE))
    try:
        category = f"class{int(parse_json(text)['class_id'])}"
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / OLD_FILE} describes no ingested images; ingest again") from None
    files = tuple(_with_paths(folder, file) for file in manifest.files)
    return manifest.model_copy(update={"category": category, "files": files})


def verify(folder: Path) -> None:
    """Check every file of an ingested data set against its description.

    Raises:
        UserError: if a file is missing or has changed; the message names the first of these files.
    """
    for entry in read_dataset(folder).files:
        for path, expected in ((entry.image, entry.image_sha256), (entry.mask, entry.mask_sha256)):
            if path is None:
                continue
            file = folder / path
            if not file.is_file() or file_sha256(file) != expected:
                raise UserError(
                    f"{folder}: {entry.split} image {entry.name} or its mask is missing or has changed; "
                    "remove the folder and ingest again"
                )


def _with_paths(folder: Path, file: RawFile) -> RawFile:
    """Add the paths of the two files, which version 0.1.0 did not record."""
    split = file.split.capitalize()
    image = _find(folder, f"{split}/{file.name}")
    mask = _find(folder, f"{split}/Label/{file.name}_label") if file.mask_sha256 else None
    return file.model_copy(update={"image": image, "mask": mask})


def _find(folder: Path, stem: str) -> str:
    """Return the path of a PNG file whose suffix may be in upper case."""
    return next(
        (f"{stem}{suffix}" for suffix in (".PNG", ".png") if (folder / f"{stem}{suffix}").is_file()),
        f"{stem}.png",
    )


def write_sources(dataset: RawManifest, folder: Path) -> None:
    """Write the description of the images, with all digests, beside their records, unless it is there."""
    path, text = folder / SOURCES, dataset.text()
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        with atomic_path(path) as part:
            part.write_text(text, encoding="utf-8")
