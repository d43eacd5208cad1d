"""The sources of images: a folder, an archive, S3, https, or the generator of synthetic images."""

import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tinyunet.core.archives import kind_by_name
from tinyunet.core.errors import UserError
from tinyunet.core.files import why_unreadable
from tinyunet.core.urls import redact, split_url
from tinyunet.data.sources.archive import ZipTree
from tinyunet.data.sources.joined import split_sources
from tinyunet.data.sources.nested import NestedTree
from tinyunet.data.sources.tars import check_tar, is_tar_name, unpack_tar
from tinyunet.data.sources.trees import FolderTree, Store, Tree

KINDS = "a folder, a .zip, a .tar, s3://bucket/prefix, https://… or synthetic://"


@contextmanager
def open_source(source: str, scratch: Path, *, category: str = "") -> Iterator[Tree]:
    """Yield the files of a source.

    Args:
        source: A folder, a .zip, a .tar (also .tar.gz, .tar.bz2, .tar.xz), s3://bucket/prefix or an archive
            on S3, https://… or synthetic://.
        scratch: Folder for downloads and unpacked files. It is created if necessary, and deleted after the
            block.
        category: Category that will be read; synthetic images are generated for this class of DAGM2007.

    Raises:
        UserError: if the source does not exist, cannot be read, or has no files.
    """
    check_scheme(source)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        store = _open_store(source, scratch, category)
        try:
            tree = NestedTree(store, scratch / "archives")
            if not tree.names:
                raise UserError(f"{tree.location} holds no files; expected images and their masks")
            try:
                yield tree
            finally:
                tree.close()
        finally:
            if isinstance(store, ZipTree):
                store.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_source(source: str) -> None:
    """Check a source as far as possible without reading it: the form of a URL, or that a path can be opened.

    Args:
        source: One source, or several joined by `+`.

    Raises:
        UserError: if `open_source` would refuse it.
    """
    *others, source = split_sources(source)
    for other in others:
        check_source(other)
    if check_scheme(source):
        if not source.startswith("synthetic:"):
            _refuse_other_archive(remove_credentials(source))
        return
    path = _find_local(source)
    if path.is_dir():
        FolderTree(path)
    elif is_tar_name(path.name):
        check_tar(path, str(path))
    else:
        ZipTree(path, str(path)).close()


def check_scheme(source: str) -> str:
    """Return the scheme of a source, or of the last of several joined by `+`; empty for a path.

    Raises:
        UserError: for an unknown scheme, or unknown options of synthetic images.
    """
    *others, source = split_sources(source)
    for other in others:
        check_scheme(other)
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    scheme = match[1] if match else ""
    if scheme in ("https", "http"):
        split_url("the source", source, "https://host/file")
    if scheme not in ("", "synthetic", "s3", "https", "http"):
        raise UserError(f"{redact(source)} is a {scheme} URL; expected {KINDS}")
    if scheme == "synthetic":
        from tinyunet.data.synthetic.generator import parse_source

        parse_source(source)
    return scheme


def remove_credentials(source: str) -> str:
    """Return a source without the parts of a URL that may be secret: user, password, query and fragment."""
    *others, source = split_sources(source)
    if others:
        return "+".join(map(remove_credentials, (*others, source)))
    if not source.startswith(("http://", "https://", "s3://")):
        return source
    check_scheme(source)
    parts = urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _open_store(source: str, scratch: Path, category: str) -> Store:
    scheme = check_scheme(source)
    if scheme == "synthetic":
        return _generate(source, scratch / "generated", category)
    if scheme:
        return _open_remote(source, scratch)
    path = _find_local(source)
    return FolderTree(path) if path.is_dir() else _open_archive(path, scratch, str(path))


def _find_local(source: str) -> Path:
    """Return the folder or archive at a path on this machine.

    Raises:
        UserError: if there is none.
    """
    # The name of the folder may be that of a class. So `.` and `..` are resolved.
    path = Path(source).resolve() if Path(source).name in ("", "..") else Path(source)
    if not path.exists():
        reason = why_unreadable(path) if path.is_symlink() else "does not exist"
        raise UserError(f"{path} {reason}; expected {KINDS}")
    if not path.is_dir() and path.suffix.lower() != ".zip" and not is_tar_name(path.name):
        _refuse_other_archive(str(path))
        raise UserError(f"{path} is a file, but not a .zip or .tar; expected {KINDS}")
    if reason := None if path.is_dir() else why_unreadable(path):
        raise UserError(f"{path} {reason}; expected {KINDS}")
    return path


def _refuse_other_archive(location: str) -> None:
    if (kind := kind_by_name(location)) and not is_tar_name(location):
        raise UserError(f"{location} is a {kind} archive; expected {KINDS}: unpack it, or repack it as .zip")


def _generate(source: str, folder: Path, category: str) -> Store:
    from tinyunet.data.layouts.dagm import require_class
    from tinyunet.data.synthetic.generator import generate, parse_source

    number = require_class(category or "class1")
    generate(folder / f"Class{number}", number, parse_source(source))
    return FolderTree(folder, source)


def _open_remote(source: str, scratch: Path) -> Store:
    from tinyunet.data.sources.bucket import BucketTree
    from tinyunet.storage import s3

    location = remove_credentials(source)
    _refuse_other_archive(location)
    is_archive = urlsplit(source).path.lower().endswith(".zip") or is_tar_name(urlsplit(source).path)
    if source.startswith("s3://") and not is_archive:
        return BucketTree(source, location)
    return _open_archive(s3.fetch(source, scratch / "download"), scratch, location)


def _open_archive(path: Path, scratch: Path, location: str) -> Store:
    """Open a .zip or a tar archive, whichever the content of a file without a suffix is."""
    if not is_tar_name(location) and (location.lower().endswith(".zip") or not _is_only_tar(path)):
        return ZipTree(path, location)
    unpack_tar(path, scratch / "unpacked", location)
    return FolderTree(scratch / "unpacked", location)


def _is_only_tar(path: Path) -> bool:
    return not zipfile.is_zipfile(path) and tarfile.is_tarfile(path)
