"""Files and folders that appear whole or not at all, and what a file system refuses, in one line."""

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
    """Give a sibling path `<name>.part` to write to; it becomes `target` at the end, or is removed."""
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
    """Turn a refusal of the file system into one line: where, why, and while making what.

    Raises:
        UserError: instead of OSError.
    """
    try:
        yield
    except OSError as error:
        where, why = error.filename or out, error.strerror or str(error)[:200]
        raise UserError(f"{where}: {why} while making {out}; mend that, then run it again") from error


@contextmanager
def atomic_folder(out: Path, *, marker: str) -> Iterator[Path]:
    """Give a folder to fill; on leaving it takes the place of `out`, on an error it is removed.

    Args:
        out: Where the folder will stand; missing, empty, or an older result, which is replaced.
        marker: The file by which an older result is known.

    Raises:
        UserError: if `out` holds something else, or the file system refuses (no right, no space).
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
    """Give an empty folder beside `out` to work in; it is gone afterwards unless it was renamed to `out`.

    Raises:
        UserError: if the file system refuses (no space, no right).
    """
    part = out.absolute().with_name(out.absolute().name + ".part")
    made = [folder for folder in part.parents if not folder.exists()]
    try:
        with file_errors(out):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        for folder in made:
            with suppress(OSError):  # not empty: the output is in it
                folder.rmdir()


def require_space(target: Path, size: int) -> None:
    """Refuse a transfer that does not fit.

    Raises:
        UserError: if the file system of `target` has less than `size` bytes free.
    """
    folder = next(p for p in (target, *target.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise UserError(f"{target} needs {size / 1e6:.0f} MB, {free / 1e6:.0f} MB are free; make room")


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        UserError: if the file is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; expected a JSON file there") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON ({error}); make it anew") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {type(value).__name__}; expected a JSON object")
    return value


def cache_folder() -> Path:
    """Give the folder of what is made once: TINYUNET_CACHE, or tinyunet in XDG_CACHE_HOME or ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("TINYUNET_CACHE") or Path(root) / "tinyunet")
