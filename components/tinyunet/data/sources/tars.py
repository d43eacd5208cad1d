"""Unpacking of a tar archive, also compressed; a dangerous archive is refused."""

import lzma
import shutil
import tarfile
import zlib
from pathlib import Path

from tinyunet.core.archives import kind_by_content, kind_by_name
from tinyunet.core.errors import UserError
from tinyunet.core.files import require_space
from tinyunet.data.sources.archive import check_sizes, why_unsafe
from tinyunet.data.sources.trees import is_hidden
from tinyunet.storage.transfer import Transfer

DAMAGE = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, OSError)


def is_tar_name(name: str) -> bool:
    """Return whether a file name is that of a tar archive, compressed or not."""
    return kind_by_name(name) == "tar"


def unpack_tar(path: Path, out: Path, location: str) -> None:
    """Unpack a tar archive without its hidden files into a new folder.

    A link is unpacked if it leads to a file of the archive.

    Args:
        path: The archive.
        out: The folder.
        location: Name of the archive in messages.

    Raises:
        UserError: if the file is not a tar archive, or the archive is damaged, too large or dangerous.
    """
    out.mkdir(parents=True)
    size, files, total = path.stat().st_size, 0, 0
    try:
        with tarfile.open(path) as archive, Transfer(f"unpack {location}", 0) as transfer:
            for member in archive:
                files, total = files + 1, total + member.size
                check_sizes(location, size, files, total)
                _check_member(member, location)
                if not member.isdir() and not is_hidden(member.name.removeprefix("./")):
                    require_space(out, member.size)
                    _write_file(archive, member, out, location)
                    transfer.advance(member.size)
            _require_end(archive)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        text = " ".join(str(error).split())[:120] or type(error).__name__
        kind = kind_by_content(path)
        seen = f"is {kind}, and " if kind and "web page" in kind else ""
        raise UserError(f"{location} {seen}is not a valid tar archive ({text}); download it again") from error


def _write_file(archive: tarfile.TarFile, member: tarfile.TarInfo, out: Path, location: str) -> None:
    """Write the content of an entry, so that no link is made on the disk."""
    try:
        entry = archive.extractfile(member)  # follows a link to a file of the archive
    except KeyError:
        entry = None
    if entry is None:
        raise UserError(
            f"{location}: entry {member.name!r} is a link to a file outside the archive or a special file; "
            "use another archive"
        )
    target = out / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with entry, target.open("wb") as file:
        shutil.copyfileobj(entry, file)


def check_tar(path: Path, location: str) -> None:
    """Check that the first entry of a tar archive can be read.

    Raises:
        UserError: if it cannot.
    """
    try:
        with tarfile.open(path) as archive:
            archive.next()
    except DAMAGE as error:
        text = " ".join(str(error).split())[:120]
        raise UserError(f"{location} is not a valid tar archive ({text}); download it again") from error


def _require_end(archive: tarfile.TarFile) -> None:
    """Raise an error unless a block of zeros follows the last entry; tarfile accepts anything there."""
    if archive.fileobj is None:
        raise EOFError
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("unexpected end of data")


def _check_member(member: tarfile.TarInfo, location: str) -> None:
    reason = why_unsafe(member.name)
    if not reason and not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        reason = "is a special file"
    if reason:
        raise UserError(f"{location}: entry {member.name!r} {reason}; use another archive")
