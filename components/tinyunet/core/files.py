"""Files and folders that are written completely or not at all, and file system errors in one line."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tinyunet.core.errors import UserError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield the path `<name>.part` beside `target`, for a file or a folder.

    At the end it is renamed to `target`. After an error it is deleted.
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
    """Turn an error of the file system into one line: the path, the reason, and the output `out`.

    Raises:
        UserError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        path, reason = error.filename or out, error.strerror or str(error)[:200]
        raise UserError(
            f"{path}: {reason} while making {out}; correct this and run the command again"
        ) from error


@contextmanager
def atomic_folder(out: Path, *, marker: str) -> Iterator[Path]:
    """Yield an empty folder that replaces `out` at the end; after an error it is deleted.

    Args:
        out: The folder to write. It may be absent, empty, or an older result, which is replaced.
        marker: Name of a file that every result of this kind contains.

    Raises:
        UserError: if `out` contains something else, or the file system reports an error.
    """
    out = out.resolve()
    with file_errors(out):
        if out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file; expected a folder, choose another --out")
        if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
            raise UserError(f"{out} is not empty and holds no {marker}; choose another --out")
        with atomic_path(out) as part:
            part.mkdir()
            yield part
            if out.exists():
                shutil.rmtree(out)


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; it is deleted at the end unless the caller renamed it to `out`.

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
            with suppress(OSError):  # the folder is not empty: it contains the output
                folder.rmdir()


def require_space(target: Path, size: int) -> None:
    """Check that `size` bytes fit on the file system of `target`.

    Raises:
        UserError: if fewer bytes are free.
    """
    folder = next(p for p in (target, *target.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(f"{target} needs {size / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; free some space")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UserError: if the file is missing or does not contain a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; expected a JSON file there") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}); create it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def cache_folder() -> Path:
    """Return the folder of cached files: TINYUNET_CACHE, or tinyunet in XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TINYUNET_CACHE") or Path(root) / "tinyunet")
