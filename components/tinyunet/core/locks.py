"""A lock that allows one training at a time in a folder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tinyunet.core.errors import UserError
from tinyunet.core.files import file_errors

LOCK_TIMEOUT_S = 5.0  # a killed training needs this long, at most, to release its locks


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Prevent a second training on this machine from using a folder; the lock is the file `<folder>.lock`.

    Args:
        folder: Folder of checkpoints or of prepared records; it need not exist.

    Raises:
        UserError: if another training has the lock for `LOCK_TIMEOUT_S`, or the file system reports an error.
    """
    path = Path(f"{folder}.lock")
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _open_locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _open_locked(path: Path) -> TextIO:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The last owner of the lock deletes the file: a lock on a deleted file does not count.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                file.close()
                raise UserError(
                    f"another training holds {path}; wait for its end, or choose another --out"
                ) from error
            time.sleep(0.2)
        file.close()
