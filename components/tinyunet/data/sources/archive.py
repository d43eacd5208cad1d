"""Extraction of one class from a .zip of DAGM2007; a dangerous archive is refused before it is unpacked."""

import lzma
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tinyunet.core.archives import describe_archives, kind_by_content
from tinyunet.core.console import track
from tinyunet.core.errors import UserError
from tinyunet.core.files import require_space
from tinyunet.data.layouts.dagm import FOLDERS, require_class

MAX_BYTES = 32 * 2**30  # the ten classes need 5 GiB
MAX_RATIO = 100  # PNG files are compressed already
MAX_MEMBERS = 100_000
METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd",
}  # fmt: skip
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError,
    OSError,  # of bz2, without an errno
)  # fmt: skip

Members = dict[PurePosixPath, zipfile.ZipInfo]


def unpack(path: Path, out: Path, class_id: int, *, name: str | None = None, nested: bool = True) -> None:
    """Extract Train and Test of one class into `out`.

    The class may be anywhere in the archive: as `ClassN/Train/…`, as `Train/…`, or in a `ClassN.zip`.

    Args:
        path: The archive.
        out: Folder to extract into.
        class_id: 1 to 10.
        name: Name of the archive in messages.
        nested: Whether a `ClassN.zip` inside the archive is searched.

    Raises:
        UserError: if the file is not a .zip, or the archive is damaged, encrypted, too large or dangerous, or
            lacks the class.
    """
    name = name or str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = check_members(archive, name, path.stat().st_size)
            inner_archives = [
                info for member, info in members.items() if member.name.lower() == f"class{class_id}.zip"
            ]
            folder = _find_class_folder(members, class_id)
            if folder is None and inner_archives and nested:
                return _unpack_inner(archive, inner_archives[0], out, class_id, name)
            if folder is None:
                raise UserError(
                    f"{name} does not hold Class{class_id}/Train or Test; expected an archive of DAGM2007"
                    + describe_archives(str(member) for member in members)
                )
            if folder.name.lower() != f"class{class_id}":
                require_class(name, class_id)
            return _extract(archive, members, folder, out, name)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        text = " ".join(str(error).split())[:120] or type(error).__name__
        if kind := kind_by_content(path):
            raise UserError(f"{name} is {kind}, not a .zip; use a .zip, or unpack it") from error
        if isinstance(error, NotImplementedError):
            raise UserError(f"{name} cannot be read ({text}); repack it as .zip with Deflate") from error
        raise UserError(f"{name} is not a valid .zip ({text}); download it again") from error


def check_members(archive: zipfile.ZipFile, name: str, size: int) -> Members:
    """Check every entry of an archive before any of them is read.

    Args:
        archive: Opened archive.
        name: Name of the archive in messages.
        size: Size of the archive in bytes.

    Returns:
        The files of the archive by path.

    Raises:
        UserError: if a path is outside the folder, an entry is a link, encrypted or repeated, or the sizes
            indicate a decompression bomb.
    """
    infos = archive.infolist()
    total = sum(info.file_size for info in infos)
    if len(infos) > MAX_MEMBERS or total > MAX_BYTES or total > MAX_RATIO * max(size, 1):
        raise UserError(
            f"{name} of {size} bytes would unpack to {len(infos)} files of {total} bytes, more than an "
            "archive of PNG files does; unpack it yourself if you trust it"
        )
    members: Members = {}
    for info in infos:
        _check_member(info, name)
        path = info.filename.replace("\\", "/")  # some programs of Windows write backslashes
        if path.endswith("/"):
            continue
        if PurePosixPath(path) in members:
            raise UserError(f"{name} holds {path!r} twice; create the archive again")
        members[PurePosixPath(path)] = info
    return members


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    # zipfile cuts `filename` at NUL and replaces separators in it. `orig_filename` is the stored name.
    stored_name = info.orig_filename
    reason = None
    if stored_name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", stored_name):
        reason = "has an absolute path"
    elif ".." in re.split(r"[/\\]", stored_name) or "\0" in stored_name:
        reason = "has a path outside the folder"
    elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is a link or a special file"
    elif info.flag_bits & 0x1:
        reason = "is encrypted"
    if reason:
        raise UserError(f"{name}: entry {stored_name!r} {reason}; nothing was unpacked, use another archive")


def _find_class_folder(members: Members, class_id: int) -> PurePosixPath | None:
    """Return the topmost folder `ClassN` with Train or Test, else one that is not named after a class."""
    folders = {
        PurePosixPath(*member.parts[:depth])
        for member in members
        for depth, folder_name in enumerate(member.parts[:-1])
        if folder_name.lower() in FOLDERS and "__MACOSX" not in member.parts
    }
    ranked: Sequence[PurePosixPath] = sorted(folders, key=lambda folder: (len(folder.parts), str(folder)))
    of_this_class = [folder for folder in ranked if folder.name.lower() == f"class{class_id}"]
    of_no_class = [folder for folder in ranked if not re.fullmatch(r"(?i)class\d+", folder.name)]
    return next(iter(of_this_class or of_no_class), None)


def _extract(archive: zipfile.ZipFile, members: Members, folder: PurePosixPath, out: Path, name: str) -> None:
    depth = len(folder.parts)
    selected: Members = {}
    for member, info in members.items():
        parts = member.parts[depth:]
        if member.parts[:depth] == folder.parts and len(parts) > 1 and parts[0].lower() in FOLDERS:
            target = _usual_name(parts)
            if target in selected:
                raise UserError(f"{name} holds {selected[target].filename} and {member}; keep one of them")
            selected[target] = info
    _check_methods(archive, selected, name)
    require_space(out, sum(info.file_size for info in selected.values()))
    for target, info in track(selected.items(), "unpacking", total=len(selected), unit="files"):
        path = out / target
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, path.open("wb") as file:
            shutil.copyfileobj(source, file)


def _usual_name(parts: Sequence[str]) -> PurePosixPath:
    """Return a path in a class, such as train/label/labels.txt, with the usual upper and lower case."""
    rest = list(parts[1:])
    if rest[0].lower() == "label" and len(rest) > 1:
        rest[0] = "Label"
        rest[1:] = ["Labels.txt"] if [part.lower() for part in rest[1:]] == ["labels.txt"] else rest[1:]
    return PurePosixPath(FOLDERS[parts[0].lower()], *rest)


def _check_methods(archive: zipfile.ZipFile, members: Members, name: str) -> None:
    """Raise an error if an entry has a compression method that this Python cannot read."""
    for method, info in {info.compress_type: info for info in members.values()}.items():
        try:
            archive.open(info).close()
        except (NotImplementedError, RuntimeError) as error:
            title = METHODS.get(method, f"number {method}")
            raise UserError(
                f"{name}: entry {info.filename!r} is compressed with the method {title}, which this Python "
                "cannot read; repack it as .zip with the method Deflate, or give the unpacked folder"
            ) from error


def _unpack_inner(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, out: Path, class_id: int, name: str
) -> None:
    _check_methods(archive, {PurePosixPath(info.filename): info}, name)
    inner = out / "inner.zip"
    with archive.open(info) as source, inner.open("wb") as file:
        shutil.copyfileobj(source, file)
    unpack(inner, out, class_id, name=f"{name}!{info.filename}", nested=False)
    inner.unlink()
