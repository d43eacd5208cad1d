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
from tinyunet.data.dagm import FOLDERS, require_class

MAX_BYTES = 32 * 2**30  # the ten classes need 5 GiB
MAX_RATIO = 100  # PNG files are compressed already
MAX_MEMBERS = 100_000

Members = dict[PurePosixPath, zipfile.ZipInfo]


def unpack(path: Path, part: Path, class_id: int, *, name: str | None = None, nested: bool = True) -> None:
    """Extract Train and Test of one class into `part`.

    The class may be anywhere in the archive: as `ClassN/Train/…`, as `Train/…`, or in a `ClassN.zip`.

    Args:
        path: The archive.
        part: Folder to extract into.
        class_id: 1 to 10.
        name: Name of the archive in messages.
        nested: Whether a `ClassN.zip` inside the archive is searched.

    Raises:
        UserError: if it is not a zip, is damaged, encrypted, too large or dangerous, or lacks the class.
    """
    name = name or str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = check(archive, name, path.stat().st_size)
            inner = [info for member, info in members.items() if member.name == f"Class{class_id}.zip"]
            prefix = _prefix(members, class_id)
            if prefix is None and inner and nested:
                return _unpack_inner(archive, inner[0], part, class_id, name)
            if prefix is None:
                raise UserError(
                    f"{name} does not hold Class{class_id}/Train or Test; expected an archive of DAGM2007"
                )
            if prefix.name != f"Class{class_id}":
                require_class(name, class_id)
            return _extract(archive, members, prefix, part)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        text = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{name} is not a whole .zip ({text}); fetch it again") from error


def check(archive: zipfile.ZipFile, name: str, size: int) -> Members:
    """Check every entry of an archive before any of them is read.

    Args:
        archive: Opened archive.
        name: Name of the archive in messages.
        size: Size of the archive in bytes.

    Returns:
        The files of the archive by path.

    Raises:
        UserError: for a path outside the folder, a link, an encrypted or repeated entry, or a size that
            points to a decompression bomb.
    """
    infos = archive.infolist()
    total = sum(info.file_size for info in infos)
    if len(infos) > MAX_MEMBERS or total > MAX_BYTES or total > MAX_RATIO * max(size, 1):
        raise UserError(
            f"{name} would unpack {len(infos)} files of {total} bytes from {size}, more than PNG files do; "
            "unpack it yourself if you trust it"
        )
    members: Members = {}
    for info in infos:
        _refuse(info, name)
        if not info.is_dir() and PurePosixPath(info.filename) in members:
            raise UserError(f"{name} holds {info.filename!r} twice; make the archive anew")
        if not info.is_dir():
            members[PurePosixPath(info.filename)] = info
    return members


def _refuse(info: zipfile.ZipInfo, name: str) -> None:
    # `filename` is no longer the stored name: zipfile cuts it at NUL and replaces the system's separators.
    raw = info.orig_filename
    reason = None
    if raw.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", raw):
        reason = "has an absolute path"
    elif ".." in re.split(r"[/\\]", raw) or "\0" in raw:
        reason = "leads out of the folder"
    elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is a link or a special file"
    elif info.flag_bits & 0x1:
        reason = "is encrypted"
    if reason:
        raise UserError(f"{name}: entry {raw!r} {reason}; refused, nothing was unpacked")


def _prefix(members: Members, class_id: int) -> PurePosixPath | None:
    """Return the folder of the class: the topmost `ClassN`, or else a folder not named after a class."""
    folders = {
        PurePosixPath(*member.parts[:depth])
        for member in members
        for depth, part in enumerate(member.parts[:-1])
        if part in FOLDERS.values() and "__MACOSX" not in member.parts
    }
    ranked: Sequence[PurePosixPath] = sorted(folders, key=lambda folder: (len(folder.parts), str(folder)))
    named = [folder for folder in ranked if folder.name == f"Class{class_id}"]
    bare = [folder for folder in ranked if not re.fullmatch(r"Class\d+", folder.name)]
    return next(iter(named or bare), None)


def _extract(archive: zipfile.ZipFile, members: Members, prefix: PurePosixPath, part: Path) -> None:
    from tinyunet.core.files import require_space

    depth = len(prefix.parts)
    inside = {
        member.parts[depth:]: info for member, info in members.items() if member.parts[:depth] == prefix.parts
    }
    wanted = {
        parts: info for parts, info in inside.items() if len(parts) > 1 and parts[0] in FOLDERS.values()
    }
    require_space(part, sum(info.file_size for info in wanted.values()))
    for parts, info in track(wanted.items(), "unpacking", total=len(wanted), unit="files"):
        target = part.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(info) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def _unpack_inner(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, part: Path, class_id: int, name: str
) -> None:
    inner = part / "inner.zip"
    with archive.open(info) as source, inner.open("wb") as file:
        shutil.copyfileobj(source, file)
    unpack(inner, part, class_id, name=f"{name}!{info.filename}", nested=False)
    inner.unlink()
