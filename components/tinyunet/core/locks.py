"""One training at a time in a folder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tinyunet.core.errors import UserError
from tinyunet.core.files import file_errors

LOCK_TIMEOUT_S = 5.0  # that a killed training may take to let go of its folders


@contextmanager
def exclusive_lock(folder: Path) -> Iterator[None]:
    """Keep a second training from the same folder on this machine.

    Args:
        folder: Folder of checkpoints or of prepared records; need not exist.

    Raises:
        UserError: if another training holds it, a while after it may have been killed; if the file system
            refuses.
    """
    path = Path(f"{folder}.lock")
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


def _locked(path: Path) -> TextIO:
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file  # and not a file that its last holder has deleted
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                file.close()
                raise UserError(
                    f"another training holds {path}; wait for its end, or choose another --out"
                ) from error
            time.sleep(0.2)
        file.close()
