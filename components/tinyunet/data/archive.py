"""Extraction of one class from a .zip of DAGM2007; a dangerous archive is refused before it is unpacked."""

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tinyunet.core.console import track
from tinyunet.core.errors import UserError
from tinyunet.core.files import require_space
from tinyunet.data.dagm import FOLDERS, require_class

MAX_BYTES = 32 * 2**30  # the ten classes need 5 GiB
MAX_RATIO = 100  # PNG files are compressed already
MAX_MEMBERS = 100_000

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
                info for member, info in members.items() if member.name == f"Class{class_id}.zip"
            ]
            folder = _find_class_folder(members, class_id)
            if folder is None and inner_archives and nested:
                return _unpack_inner(archive, inner_archives[0], out, class_id, name)
            if folder is None:
                raise UserError(
                    f"{name} does not hold Class{class_id}/Train or Test; expected an archive of DAGM2007"
                )
            if folder.name != f"Class{class_id}":
                require_class(name, class_id)
            return _extract(archive, members, folder, out)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        text = " ".join(str(error).split())[:120] or type(error).__name__
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
        if not info.is_dir() and PurePosixPath(info.filename) in members:
            raise UserError(f"{name} holds {info.filename!r} twice; create the archive again")
        if not info.is_dir():
            members[PurePosixPath(info.filename)] = info
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
        if folder_name in FOLDERS.values() and "__MACOSX" not in member.parts
    }
    ranked: Sequence[PurePosixPath] = sorted(folders, key=lambda folder: (len(folder.parts), str(folder)))
    of_this_class = [folder for folder in ranked if folder.name == f"Class{class_id}"]
    of_no_class = [folder for folder in ranked if not re.fullmatch(r"Class\d+", folder.name)]
    return next(iter(of_this_class or of_no_class), None)


def _extract(archive: zipfile.ZipFile, members: Members, folder: PurePosixPath, out: Path) -> None:
    depth = len(folder.parts)
    relative = {
        member.parts[depth:]: info for member, info in members.items() if member.parts[:depth] == folder.parts
    }
    selected = {
        parts: info for parts, info in relative.items() if len(parts) > 1 and parts[0] in FOLDERS.values()
    }
    require_space(out, sum(info.file_size for info in selected.values()))
    for parts, info in track(selected.items(), "unpacking", total=len(selected), unit="files"):
        target = out.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def _unpack_inner(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, out: Path, class_id: int, name: str
) -> None:
    inner = out / "inner.zip"
    with archive.open(info) as source, inner.open("wb") as file:
        shutil.copyfileobj(source, file)
    unpack(inner, out, class_id, name=f"{name}!{info.filename}", nested=False)
    inner.unlink()
