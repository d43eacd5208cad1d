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


def stage(source: str, out: Path, class_id: int) -> None:
    """Copy Train and Test of one class into `out`, without checking them.

    Raises:
        UserError: if the source does not exist or does not hold the class.
    """
    scheme = check_scheme(source)
    if not scheme:
        _stage_local(find_local(Path(source), class_id), out, class_id)
    elif scheme == "synthetic":
        from tinyunet.data.synthetic.generator import generate, parse_source

        generate(out, class_id, parse_source(source))
    else:
        _stage_remote(source, out, class_id)


def check_scheme(source: str) -> str:
    """Return the scheme of a source; empty for a path.

    Raises:
        UserError: for an unknown scheme, or unknown options of synthetic images.
    """
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    scheme = match[1] if match else ""
    if scheme not in ("", "synthetic", "s3", "https", "http"):
        raise UserError(f"{redact(source)} is a {scheme} URL; expected {KINDS}")
    if scheme == "synthetic":
        from tinyunet.data.synthetic.generator import parse_source

        parse_source(source)
    return scheme


def remove_credentials(source: str) -> str:
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
    location = find_class(path, class_id) if path.is_dir() else path
    if not location.is_dir() and location.suffix.lower() != ".zip":
        raise UserError(f"{path} is a file, but not a .zip; expected {KINDS}")
    return location


def _stage_local(location: Path, out: Path, class_id: int) -> None:
    if location.is_dir():
        return _copy(location, out)
    from tinyunet.data.archive import unpack

    return unpack(location, out, class_id)


def find_class(root: Path, class_id: int) -> Path:
    """Return the folder or archive of a class: the first of these that exists.

    1. ClassN or ClassN.zip in `root`,
    2. `root` itself, if it holds Train or Test,
    3. ClassN or ClassN.zip in a subfolder of `root`.

    Raises:
        UserError: if none of these exists, or several subfolders hold the class.
    """
    name = f"Class{class_id}"
    for location in (root / name, root / f"{name}.zip"):
        if _is_class(location):
            return location
    if _is_class(root):
        require_class(str(root.resolve()), class_id)
        return root
    candidates = [*root.glob(f"*/{name}.zip"), *root.glob(f"*/{name}")]
    by_subfolder = {p.parent.name: p for p in candidates if _is_class(p) and p.parent.name != "__MACOSX"}
    if len(by_subfolder) == 1:
        return next(iter(by_subfolder.values()))
    if by_subfolder:
        subfolders = " and in ".join(sorted(by_subfolder))
        raise UserError(f"{root} holds {name} in {subfolders}; give one of these folders")
    raise UserError(
        f"{root} holds neither {name}, {name}.zip nor Train and Test, and no subfolder holds {name}; "
        "expected the DAGM2007 folder with exactly these names"
    )


def _is_class(location: Path) -> bool:
    """Return whether a path is an archive, or a folder with Train or Test."""
    is_archive = location.suffix == ".zip" and location.is_file()
    return is_archive or any((location / folder).is_dir() for folder in FOLDERS.values())


def _copy(folder: Path, out: Path) -> None:
    """Copy the files of Train, Train/Label, Test and Test/Label."""
    subfolders = [folder / name / subfolder for name in FOLDERS.values() for subfolder in ("", "Label")]
    files = [path for source in subfolders if source.is_dir() for path in source.iterdir() if path.is_file()]
    for source in subfolders:
        (out / source.relative_to(folder)).mkdir(parents=True, exist_ok=True)
    parallel_map(lambda path: shutil.copyfile(path, out / path.relative_to(folder)), files, "copying")


def _stage_remote(source: str, out: Path, class_id: int) -> None:
    from tinyunet.storage import s3

    download = out / "download"
    download.mkdir()
    if source.startswith("s3://") and not urlsplit(source).path.lower().endswith(".zip"):
        source = _find_on_s3(source, class_id)
    if source.startswith("s3://") and source.endswith("/"):
        _copy(s3.fetch(source, download / "class"), out)
    else:
        from tinyunet.data.archive import unpack

        unpack(s3.fetch(source, download / "archive.zip"), out, class_id, name=remove_credentials(source))
    shutil.rmtree(download)


def _find_on_s3(source: str, class_id: int) -> str:
    """Return the URI of the class on S3: the prefix ClassN/, the object ClassN.zip, or the source itself."""
    from tinyunet.storage import s3

    root = source.rstrip("/")
    objects = s3.list_objects(root)
    for uri in (f"{root}/Class{class_id}/", f"{root}/Class{class_id}.zip", f"{root}/"):
        if uri in objects or any(
            o.startswith(f"{uri}{folder}/") for o in objects for folder in FOLDERS.values()
        ):
            if uri == f"{root}/":
                require_class(redact(root), class_id)
            return uri
    raise UserError(
        f"{redact(source)} holds {len(objects)} objects, but no Class{class_id}.zip and none in "
        f"Class{class_id}, Train or Test; expected the prefix of DAGM2007 or of one class"
    )
