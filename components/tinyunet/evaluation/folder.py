"""Output folders that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinyunet.errors import UserError


@contextmanager
def whole_folder(out: Path, *, marker: str) -> Iterator[Path]:
    """Give a folder to fill; on leaving it takes the place of `out`, on an error it is removed.

    Args:
        out: Where the folder will stand; missing, empty, or an older result, which is replaced.
        marker: The file by which an older result is known.

    Raises:
        UserError: if `out` holds something else.
    """
    out = out.resolve()
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; expected a folder, choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
        raise UserError(f"{out} is not empty and holds no {marker}; choose another --out")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        if out.exists():
            shutil.rmtree(out)
        part.replace(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
