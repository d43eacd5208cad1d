"""Where a class comes from: a folder, an archive, S3, https or the generator."""

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from tinyunet.data.dagm import FOLDERS, class_folder
from tinyunet.data.progress import parallel
from tinyunet.errors import UserError
from tinyunet.runtime.transfer import redact

KINDS = "a folder, a .zip, s3://bucket/prefix, https://… or synthetic://"


def stage(source: str, part: Path, class_id: int) -> None:
    """Put Train and Test of one class into `part`, unchecked.

    Raises:
        UserError: if there is no such source, or the class is not in it.
    """
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    if scheme is None:
        _stage_path(Path(source), part, class_id)
    elif scheme[1] == "synthetic":
        from tinyunet.data.synthetic import generate, parse_source

        generate(part, class_id, parse_source(source))
    elif scheme[1] in ("s3", "https", "http"):
        _stage_remote(source, part, class_id)
    else:
        raise UserError(f"{redact(source)} is a {scheme[1]} URL; expected {KINDS}")


def public(source: str) -> str:
    """Give a source without what may be secret: user, password and query of a URL."""
    if not source.startswith(("http://", "https://", "s3://")):
        return source
    parts = urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _stage_path(path: Path, part: Path, class_id: int) -> None:
    if not path.exists():
        raise UserError(f"{path} does not exist; expected {KINDS}")
    if path.is_dir():
        return _copy(class_folder(path, class_id), part)
    if path.suffix.lower() != ".zip":
        raise UserError(f"{path} is a file, but not a .zip; expected {KINDS}")
    from tinyunet.data.archive import unpack

    return unpack(path, part, class_id)


def _copy(folder: Path, part: Path) -> None:
    """Copy the files of Train, Train/Label, Test and Test/Label."""
    places = [folder / name / below for name in FOLDERS.values() for below in ("", "Label")]
    files = [path for place in places if place.is_dir() for path in place.iterdir() if path.is_file()]
    for place in places:
        (part / place.relative_to(folder)).mkdir(parents=True, exist_ok=True)
    parallel(lambda path: shutil.copyfile(path, part / path.relative_to(folder)), files, "copying")


def _stage_remote(source: str, part: Path, class_id: int) -> None:
    from tinyunet.runtime import storage

    download = part / "download"
    download.mkdir()
    if source.startswith("s3://") and not urlsplit(source).path.lower().endswith(".zip"):
        _copy(storage.fetch(_class_prefix(source, class_id), download / "class"), part)
    else:
        from tinyunet.data.archive import unpack

        unpack(storage.fetch(source, download / "archive.zip"), part, class_id, name=public(source))
    shutil.rmtree(download)


def _class_prefix(source: str, class_id: int) -> str:
    """Find the prefix of the class on S3: below the source, or the source itself."""
    from tinyunet.runtime import storage

    root = source.rstrip("/")
    names = storage.list_objects(root)
    for prefix in (f"{root}/Class{class_id}", root):
        if any(name.startswith(f"{prefix}/{folder}/") for name in names for folder in FOLDERS.values()):
            return prefix + "/"
    raise UserError(
        f"{redact(source)} holds {len(names)} objects, none in Class{class_id}, Train or Test; "
        "expected the prefix of DAGM2007 or of one class"
    )
