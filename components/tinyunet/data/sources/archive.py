"""The files of a .zip; a dangerous archive is refused before any of its files is read."""

import io
import lzma
import re
import shutil
import stat
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tinyunet.core.archives import kind_by_content
from tinyunet.core.errors import UserError
from tinyunet.core.files import require_space
from tinyunet.data.sources.trees import is_hidden

MAX_BYTES = 32 * 2**30  # the ten classes of DAGM2007 need 5 GiB
MAX_RATIO = 100  # pictures are compressed already
MAX_MEMBERS = 100_000
METHODS = {
    1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd",
}  # fmt: skip
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError,
    OSError,  # of bz2, without an errno
)  # fmt: skip

Members = dict[PurePosixPath, zipfile.ZipInfo]


class ZipTree:
    """The files of a .zip, which are decompressed when they are read.

    Args:
        path: The archive.
        location: Its name in messages.

    Raises:
        UserError: if the file is not a .zip, or the archive is damaged, encrypted, too large or dangerous.
    """

    def __init__(self, path: Path, location: str) -> None:
        self.location = location
        with _archive_errors(location, path):
            self._archive = zipfile.ZipFile(path)
            try:
                members = check_members(self._archive, location, path.stat().st_size)
            except BaseException:
                self._archive.close()
                raise
        self._members = {str(member): info for member, info in members.items() if not is_hidden(str(member))}
        self.names = tuple(sorted(self._members))
        self._lock = threading.Lock()  # zipfile counts the open entries without a lock

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; see `Tree.read`."""
        with self._open(name) as entry:
            return entry.read()

    def read_end(self, name: str, size: int) -> tuple[bytes, int]:
        """Return the last bytes of a file and its size; see `Store.read_end`."""
        end = b""
        with self._open(name) as entry:
            while chunk := entry.read(max(size, 2**20)):
                end = (end + chunk)[-size:]
        return end, self._members[name].file_size

    def copy(self, name: str, target: Path) -> Path:
        """Write a file to `target`."""
        require_space(target, self._members[name].file_size)
        with self._open(name) as entry, target.open("wb") as file:
            shutil.copyfileobj(entry, file, 2**20)
        return target

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        with _entry_errors(self._members[name]):
            with self._lock:
                entry = self._archive.open(self._members[name])
            try:
                yield entry
            finally:
                with self._lock:
                    entry.close()


def list_end(end: bytes, size: int) -> list[str]:
    """Return the names of the files of a .zip from its last bytes, which must hold its table of contents.

    Args:
        end: The last bytes of the archive.
        size: Size of the archive in bytes.

    Raises:
        UserError: as `ZipTree`; the message has no subject.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(end)) as archive:
            members = check_members(archive, "", size)
    except DAMAGE as error:
        raise UserError(f"is not a valid .zip ({_text(error)}); download it again") from error
    except UserError as error:
        raise UserError(str(error).lstrip(": ")) from error
    return [str(member) for member in members]


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
    check_sizes(name, size, len(infos), sum(info.file_size for info in infos))
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


def check_sizes(name: str, size: int, files: int, total: int) -> None:
    """Check the number of files of an archive and their size.

    Args:
        name: Name of the archive in messages.
        size: Size of the archive in bytes.
        files: Number of its files.
        total: Size of its files in bytes.

    Raises:
        UserError: if they indicate a decompression bomb.
    """
    if files > MAX_MEMBERS or total > MAX_BYTES or total > MAX_RATIO * max(size, 1):
        raise UserError(
            f"{name} of {size} bytes would unpack to {files} files of {total} bytes, more than an archive of "
            "pictures does; unpack it yourself if you trust it"
        )


def why_unsafe(stored_name: str) -> str | None:
    """Return why the stored name of an entry is dangerous, as the predicate of a sentence."""
    if stored_name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", stored_name):
        return "has an absolute path"
    if ".." in re.split(r"[/\\]", stored_name) or "\0" in stored_name:
        return "has a path outside the folder"
    return None


def _check_member(info: zipfile.ZipInfo, name: str) -> None:
    # zipfile cuts `filename` at NUL and replaces separators in it. `orig_filename` is the stored name.
    reason = why_unsafe(info.orig_filename)
    if not reason and stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is a link or a special file"
    if not reason and info.flag_bits & 0x1:
        reason = "is encrypted"
    if reason:
        raise UserError(
            f"{name}: entry {info.orig_filename!r} {reason}; nothing was unpacked, use another archive"
        )


@contextmanager
def _archive_errors(name: str, path: Path) -> Iterator[None]:
    """Convert the exceptions of zipfile for an archive as a whole to one line."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        if kind := kind_by_content(path):
            raise UserError(f"{name} is {kind}, not a .zip; use a .zip, or unpack it") from error
        raise UserError(f"{name} is not a valid .zip ({_text(error)}); download it again") from error


@contextmanager
def _entry_errors(info: zipfile.ZipInfo) -> Iterator[None]:
    """Convert the exceptions of zipfile for one entry to a line without a subject."""
    try:
        yield
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise
        if isinstance(error, NotImplementedError | RuntimeError):
            title = METHODS.get(info.compress_type, f"number {info.compress_type}")
            raise UserError(
                f"is compressed with the method {title}, which this Python cannot read; repack the archive "
                "with the method Deflate, or give the unpacked folder"
            ) from error
        raise UserError(f"is damaged in the archive ({_text(error)}); download it again") from error


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
