"""Write files and folders completely or not at all, and report file system errors in one line."""

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinyunet.core.errors import UserError

PART_BYTES = 1 << 20  # of a file that are read at a time
KEPT = 20  # models of the cache that are kept whenever they were used
KEPT_S = 7 * 24 * 3600.0  # seconds since the last use in which every model is kept


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield the path `<name>.part` beside `target`, for a file or a folder.

    After the block, the path is renamed to `target`. If the block raises an error, the path is deleted.
    """
    part = target.with_name(target.name + ".part")
    _delete(part)
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        part.replace(target)
    finally:
        _delete(part)


@contextmanager
def file_errors(out: Path) -> Iterator[None]:
    """Convert an error of the file system to one line: the path, the reason, and the output `out`.

    Raises:
        UserError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        path, reason = error.filename or out, error.strerror or str(error)[:200]
        raise UserError(
            f"{path}: {reason} while writing {out}; correct this and run the command again"
        ) from error


@contextmanager
def atomic_folder(out: Path, *, marker: str) -> Iterator[Path]:
    """Yield an empty folder that replaces `out` after the block, or is deleted if the block raises an error.

    Args:
        out: The folder to write. If it exists, it must be empty or contain an older result.
        marker: Name of a file that every result of this kind contains.

    Raises:
        UserError: if `out` contains something else, or the file system reports an error.
    """
    out = out.resolve()
    with file_errors(out):
        if out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file; expected a folder; choose another --out")
        if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
            raise UserError(f"{out} is not empty and holds no {marker}; choose another --out")
        with atomic_path(out) as part:
            part.mkdir()
            yield part
            if out.exists():
                shutil.rmtree(out)


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; it is deleted after the block unless the block renamed it to `out`.

    Raises:
        UserError: if the file system reports an error, such as a full disk.
    """
    part = out.absolute().with_name(out.absolute().name + ".part")
    new_parents = [folder for folder in part.parents if not folder.exists()]
    try:
        with file_errors(out):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for folder in new_parents:
            with suppress(OSError):  # the folder is not empty, because it contains the output
                folder.rmdir()


def require_space(target: Path, size: int) -> None:
    """Check that `size` bytes fit on the file system of `target`.

    Raises:
        UserError: if fewer bytes are free.
    """
    folder = next(p for p in (target, *target.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(
            f"{target} needs {size / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are free; free some space"
        )


def file_sha256(path: Path, cancelled: threading.Event | None = None) -> str:
    """Return the SHA-256 of a file as hex digits; the file is read in parts.

    Raises:
        InterruptedError: if `cancelled` is set before the end of the file.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            if cancelled and cancelled.is_set():
                raise InterruptedError(f"the SHA-256 of {path} is not needed any more")
            digest.update(part)
    return digest.hexdigest()


def why_unreadable(path: Path) -> str | None:
    """Return why a path is not a regular file, as the predicate of a sentence; None for a regular file.

    A link is followed. A FIFO or a device is not opened, because reading from it may never end.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is in a loop of links"
        if path.is_symlink():
            return f"is a broken link (to {path.readlink()})"
        return f"cannot be read ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "is a folder"
    return None if stat.S_ISREG(mode) else "is not a regular file"


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


_REMEDY = "set TINYUNET_CACHE to a folder that can be written"


def cache_folder() -> Path:
    """Return TINYUNET_CACHE or, if it is not set, the folder `tinyunet` in XDG_CACHE_HOME or ~/.cache."""
    if folder := os.environ.get("TINYUNET_CACHE"):
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinyunet"
    except RuntimeError as error:
        raise UserError(f"HOME is not set, and this user has no home folder; {_REMEDY}") from error


def make_cache_folder(folder: Path) -> None:
    """Make a folder of the cache, unless it exists.

    Raises:
        UserError: if it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; {_REMEDY}") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: cannot be written; {_REMEDY}")


def mark_used(entry: Path) -> Path:
    """Record that a folder of the cache is used now, and delete those beside it that are no longer used.

    The KEPT folders that were used last are kept, every folder that was used in the last KEPT_S seconds, and
    those in use (`keep_in_use`).

    Args:
        entry: A folder of the cache; the folders beside it have the same purpose.

    Returns:
        `entry`.
    """
    with suppress(OSError):  # the cache may be read-only, and another process may delete the same folder
        os.utime(entry)
        used = {folder: folder.stat().st_mtime for folder in entry.parent.iterdir() if folder.is_dir()}
        oldest_first = sorted(used, key=lambda folder: used[folder])
        for folder in oldest_first[:-KEPT]:
            if time.time() - used[folder] > KEPT_S and not _is_in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)
    return entry


def keep_in_use(folder: Path, user: object) -> None:
    """Prevent `mark_used` from deleting a folder as long as an object of this process uses it.

    Args:
        folder: A folder, of the cache or not.
        user: The object; it must allow weak references.
    """
    with suppress(OSError):  # a file system without locks
        descriptor = os.open(folder, os.O_RDONLY)
        weakref.finalize(user, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def _is_in_use(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except OSError as error:  # without locks, only the time of the last use counts
        return isinstance(error, BlockingIOError)
    return False
