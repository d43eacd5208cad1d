"""The sources of a class: a folder, an archive, S3, https, or the generator of synthetic images."""

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from tinyunet.core.console import parallel_map
from tinyunet.core.errors import UserError
from tinyunet.core.redaction import redact
from tinyunet.data.dagm import FOLDERS, require_class

KINDS = "a folder, a .zip, s3://bucket/prefix, https://… or synthetic://"


def stage(source: str, part: Path, class_id: int) -> None:
    """Copy Train and Test of one class into `part`, without checking them.

    Raises:
        UserError: if there is no such source, or it does not hold the class.
    """
    scheme = check_scheme(source)
    if not scheme:
        _stage_place(find_local(Path(source), class_id), part, class_id)
    elif scheme == "synthetic":
        from tinyunet.data.synthetic.generator import generate, parse_source

        generate(part, class_id, parse_source(source))
    else:
        _stage_remote(source, part, class_id)


def check_scheme(source: str) -> str:
    """Return the scheme of a source; empty for a path.

    Raises:
        UserError: for an unknown scheme, or unknown options of synthetic images.
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    scheme = found[1] if found else ""
    if scheme not in ("", "synthetic", "s3", "https", "http"):
        raise UserError(f"{redact(source)} is a {scheme} URL; expected {KINDS}")
    if scheme == "synthetic":
        from tinyunet.data.synthetic.generator import parse_source

        parse_source(source)
    return scheme


def without_credentials(source: str) -> str:
    """Return a source without the parts of a URL that may be secret: user, password and query."""
    if not source.startswith(("http://", "https://", "s3://")):
        return source
    parts = urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def find_local(path: Path, class_id: int) -> Path:
    """Return the folder or archive of a class at a path on this machine.

    Raises:
        UserError: if the path does not exist or does not hold the class.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; expected {KINDS}")
    place = find_class(path, class_id) if path.is_dir() else path
    if not place.is_dir() and place.suffix.lower() != ".zip":
        raise UserError(f"{path} is a file, but not a .zip; expected {KINDS}")
    return place


def _stage_place(place: Path, part: Path, class_id: int) -> None:
    if place.is_dir():
        return _copy(place, part)
    from tinyunet.data.archive import unpack

    return unpack(place, part, class_id)


def find_class(root: Path, class_id: int) -> Path:
    """Return ClassN or ClassN.zip in a folder, else the folder itself, else ClassN one level below.

    The folder itself is the result if it holds Train or Test.

    Raises:
        UserError: if none or several are found.
    """
    name = f"Class{class_id}"
    for place in (root / name, root / f"{name}.zip"):
        if _holds(place):
            return place
    if _holds(root):
        require_class(str(root.resolve()), class_id)
        return root
    places = [*root.glob(f"*/{name}.zip"), *root.glob(f"*/{name}")]
    below = {p.parent.name: p for p in places if _holds(p) and p.parent.name != "__MACOSX"}
    if len(below) == 1:
        return next(iter(below.values()))
    if below:
        raise UserError(f"{root} holds {name} in {' and in '.join(sorted(below))}; give one of these folders")
    raise UserError(
        f"{root} holds neither {name}, {name}.zip nor Train and Test, nor does a folder in it hold {name}; "
        "expected the DAGM2007 folder, its names spelled so"
    )


def _holds(place: Path) -> bool:
    """Return whether a path is an archive, or a folder with Train or Test."""
    archive = place.suffix == ".zip" and place.is_file()
    return archive or any((place / folder).is_dir() for folder in FOLDERS.values())


def _copy(folder: Path, part: Path) -> None:
    """Copy the files of Train, Train/Label, Test and Test/Label."""
    places = [folder / name / below for name in FOLDERS.values() for below in ("", "Label")]
    files = [path for place in places if place.is_dir() for path in place.iterdir() if path.is_file()]
    for place in places:
        (part / place.relative_to(folder)).mkdir(parents=True, exist_ok=True)
    parallel_map(lambda path: shutil.copyfile(path, part / path.relative_to(folder)), files, "copying")


def _stage_remote(source: str, part: Path, class_id: int) -> None:
    from tinyunet.storage import s3

    download = part / "download"
    download.mkdir()
    if source.startswith("s3://") and not urlsplit(source).path.lower().endswith(".zip"):
        source = _find_on_s3(source, class_id)
    if source.startswith("s3://") and source.endswith("/"):
        _copy(s3.fetch(source, download / "class"), part)
    else:
        from tinyunet.data.archive import unpack

        unpack(s3.fetch(source, download / "archive.zip"), part, class_id, name=without_credentials(source))
    shutil.rmtree(download)


def _find_on_s3(source: str, class_id: int) -> str:
    """Return the URI of the class on S3: the prefix ClassN/, the object ClassN.zip, or the source itself."""
    from tinyunet.storage import s3

    root = source.rstrip("/")
    names = s3.list_objects(root)
    for place in (f"{root}/Class{class_id}/", f"{root}/Class{class_id}.zip", f"{root}/"):
        if place in names or any(n.startswith(f"{place}{f}/") for n in names for f in FOLDERS.values()):
            if place == f"{root}/":
                require_class(redact(root), class_id)
            return place
    raise UserError(
        f"{redact(source)} holds {len(names)} objects, no Class{class_id}.zip and none in Class{class_id}, "
        "Train or Test; expected the prefix of DAGM2007 or of one class"
    )
