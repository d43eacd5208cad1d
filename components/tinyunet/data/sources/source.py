"""The sources of a class: a folder, an archive, S3, https, or the generator of synthetic images."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from tinyunet.core.archives import describe_archives, kind_by_name
from tinyunet.core.console import parallel_map
from tinyunet.core.errors import UserError
from tinyunet.core.files import why_unreadable
from tinyunet.core.redaction import redact
from tinyunet.data.layouts.dagm import FOLDERS, Problem, require_class

KINDS = "a folder, a .zip, s3://bucket/prefix, https://… or synthetic://"


def stage(source: str, out: Path, class_id: int) -> list[Problem]:
    """Copy Train and Test of one class into `out`, without checking them.

    Upper and lower case in the names of folders and of Labels.txt make no difference; the copies have the
    usual names.

    Returns:
        The files that cannot be read, such as broken links; they are not copied.

    Raises:
        UserError: if the source does not exist or does not hold the class.
    """
    scheme = check_scheme(source)
    if not scheme:
        return _stage_local(find_local(Path(source), class_id), out, class_id)
    if scheme != "synthetic":
        return _stage_remote(source, out, class_id)
    from tinyunet.data.synthetic.generator import generate, parse_source

    generate(out, class_id, parse_source(source))
    return []


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
    """Return a source without the parts of a URL that may be secret: user, password, query and fragment."""
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
        reason = why_unreadable(path) if path.is_symlink() else "does not exist"
        raise UserError(f"{path} {reason}; expected {KINDS}")
    location = find_class(path, class_id) if path.is_dir() else path
    if not location.is_dir() and location.suffix.lower() != ".zip":
        _refuse_other_archive(str(path))
        raise UserError(f"{path} is a file, but not a .zip; expected {KINDS}")
    return location


def _refuse_other_archive(location: str) -> None:
    if kind := kind_by_name(location):
        raise UserError(f"{location} is a {kind} archive; expected {KINDS}: unpack it, or repack it as .zip")


def _stage_local(location: Path, out: Path, class_id: int) -> list[Problem]:
    if location.is_dir():
        return _copy(location, out)
    from tinyunet.data.sources.archive import unpack

    unpack(location, out, class_id)
    return []


def find_class(root: Path, class_id: int) -> Path:
    """Return the folder or archive of a class: the first of these that exists.

    1. ClassN or ClassN.zip in `root`,
    2. `root` itself, if it holds Train or Test,
    3. ClassN or ClassN.zip in a subfolder of `root`.

    Raises:
        UserError: if none of these exists, or several subfolders hold the class.
    """
    name = f"Class{class_id}"
    for location in (find_entry(root, name, _is_class), find_entry(root, f"{name}.zip", _is_class)):
        if location:
            return location
    if _is_class(root):
        require_class(str(root.resolve()), class_id)
        return root
    subfolders = [p for p in sorted(root.iterdir()) if p.is_dir() and os.access(p, os.R_OK | os.X_OK)]
    by_subfolder = {
        folder.name: found
        for folder in subfolders
        if folder.name != "__MACOSX"
        if (found := find_entry(folder, name, _is_class) or find_entry(folder, f"{name}.zip", _is_class))
    }
    if len(by_subfolder) == 1:
        return next(iter(by_subfolder.values()))
    if by_subfolder:
        names = " and in ".join(sorted(by_subfolder))
        raise UserError(f"{root} holds {name} in {names}; give one of these folders")
    paths = [path for folder in (root, *subfolders) for path in folder.iterdir()]
    raise UserError(
        f"{root} holds neither {name}, {name}.zip nor Train and Test, and no subfolder holds {name}; "
        "expected the DAGM2007 folder with these names, in upper or lower case"
        + describe_archives(str(path.relative_to(root)) for path in paths)
    )


def find_entry(folder: Path, name: str, accept: Callable[[Path], bool]) -> Path | None:
    """Return the entry of a folder with this name, in any case, for which `accept` is true; None without one.

    Raises:
        UserError: if several entries have the name.
    """
    entries = [
        path for path in sorted(folder.iterdir()) if path.name.lower() == name.lower() and accept(path)
    ]
    if len(entries) > 1:
        raise UserError(f"{folder} holds {' and '.join(path.name for path in entries)}; keep one of them")
    return entries[0] if entries else None


def _is_class(location: Path) -> bool:
    """Return whether a path is a .zip archive, or a folder that contains Train or Test."""
    if location.is_dir():
        return any(find_entry(location, name, Path.is_dir) for name in FOLDERS.values())
    return location.suffix.lower() == ".zip" and location.is_file()


def _copy(folder: Path, out: Path) -> list[Problem]:
    """Copy the files of Train, Train/Label, Test and Test/Label; return those that cannot be read."""
    copies: dict[Path, Path] = {}  # target: source
    left_out: list[Problem] = []
    for split in FOLDERS.values():
        base = find_entry(folder, split, Path.is_dir)
        labels = find_entry(base, "Label", Path.is_dir) if base else None
        for source, target in ((base, out / split), (labels, out / split / "Label")):
            target.mkdir(parents=True, exist_ok=True)
            for path in sorted(source.iterdir()) if source else ():
                is_list = source == labels and path.name.lower() == "labels.txt"
                copied = target / ("Labels.txt" if is_list else path.name)
                if copied in copies:
                    raise UserError(f"{source} holds {copies[copied].name} and {path.name}; keep one of them")
                reason = why_unreadable(path)
                if reason is None:
                    copies[copied] = path
                elif reason != "is a folder" or path.suffix.lower() == ".png":
                    left_out.append(Problem(copied.relative_to(out).as_posix(), reason))
    parallel_map(lambda copied: shutil.copyfile(copies[copied], copied), list(copies), "copying")
    return left_out


def _stage_remote(source: str, out: Path, class_id: int) -> list[Problem]:
    from tinyunet.storage import s3

    download, left_out = out / "download", list[Problem]()
    download.mkdir()
    _refuse_other_archive(remove_credentials(source))
    if source.startswith("s3://") and not urlsplit(source).path.lower().endswith(".zip"):
        source = _find_on_s3(source, class_id)
    if source.startswith("s3://") and source.endswith("/"):
        left_out = _copy(s3.fetch(source, download / "class"), out)
    else:
        from tinyunet.data.sources.archive import unpack

        unpack(s3.fetch(source, download / "archive.zip"), out, class_id, name=remove_credentials(source))
    shutil.rmtree(download)
    return left_out


def _find_on_s3(source: str, class_id: int) -> str:
    """Return the URI of the class on S3: the prefix ClassN/, the object ClassN.zip, or the source itself."""
    from tinyunet.storage import s3

    root, name = source.rstrip("/"), f"Class{class_id}"
    objects = s3.list_objects(root)
    paths = [uri.removeprefix(f"{root}/").split("/") for uri in objects]
    of_class = [path for path in paths if path[0].lower() == name.lower()]
    folders = {path[0] for path in of_class if len(path) > 2 and path[1].lower() in FOLDERS}
    archives = {path[0] for path in paths if len(path) == 1 and path[0].lower() == f"{name}.zip".lower()}
    for names, end in ((folders, "/"), (archives, "")):
        if len(names) > 1:
            raise UserError(f"{redact(root)} holds {' and '.join(sorted(names))}; keep one of them")
        if names:
            return f"{root}/{names.pop()}{end}"
    if any(len(path) > 1 and path[0].lower() in FOLDERS for path in paths):
        require_class(redact(root), class_id)
        return f"{root}/"
    raise UserError(
        f"{redact(source)} holds {len(objects)} objects, but no {name}.zip and none in {name}, Train or "
        "Test; expected the prefix of DAGM2007 or of one class"
        + describe_archives("/".join(path) for path in paths)
    )
