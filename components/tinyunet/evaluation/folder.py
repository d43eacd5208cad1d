"""Output folders that appear whole or not at all."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinyunet.data.output import writing
from tinyunet.errors import UserError
from tinyunet.runtime.transfer import whole


@contextmanager
def whole_folder(out: Path, *, marker: str) -> Iterator[Path]:
    """Give a folder to fill; on leaving it takes the place of `out`, on an error it is removed.

    Args:
        out: Where the folder will stand; missing, empty, or an older result, which is replaced.
        marker: The file by which an older result is known.

    Raises:
        UserError: if `out` holds something else, or the file system refuses (no right, no space).
    """
    out = out.resolve()
    with writing(out):
        if out.exists() and not out.is_dir():
            raise UserError(f"{out} is a file; expected a folder, choose another --out")
        if out.is_dir() and any(out.iterdir()) and not (out / marker).is_file():
            raise UserError(f"{out} is not empty and holds no {marker}; choose another --out")
        with whole(out) as part:
            part.mkdir()
            yield part
            if out.exists():
                shutil.rmtree(out)
