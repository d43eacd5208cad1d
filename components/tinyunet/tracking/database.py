"""The SQLite file of a local MLflow: the lock for its creation, and its errors in one line."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinyunet.core.urls import redact

LOCKS = Path("/proc/locks")  # Linux lists the file locks of all processes here
MAX_WORDS = 4  # number of words of another process's command line that a message shows
_REASONS = {
    "readonly": "its file or folder is read-only; make both writable, or set MLFLOW_TRACKING_URI to another",
    "full": "the disk is full; free some space and run the command again",
    "unable to open": "its file cannot be opened; correct the permissions of the file and of its folder",
    "not a database": "its file is not a SQLite database; set MLFLOW_TRACKING_URI to another",
    "malformed": "its file is damaged; restore it from a copy, or set MLFLOW_TRACKING_URI to another",
}


@contextmanager
def creation_lock(folder: Path | None) -> Iterator[None]:
    """Let one process at a time open the database in a folder: the first one creates the tables."""
    if folder is None:
        yield
        return
    with (folder / "mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def database_error(error: BaseException, database: Path) -> str | None:
    """Return the reason for an SQLite error and what to do, or None for an error of another kind.

    Args:
        error: Exception of MLflow or SQLAlchemy; SQLite's exception is among its causes.
        database: File of the database.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, sqlite3.Error):
        cause = getattr(cause, "orig", None) or cause.__cause__
    if cause is None:
        return None
    text = str(cause)
    if "locked" in text:
        holder = lock_holder(database) or "another process"
        return f"the database is locked by {holder}; wait for its end, or stop it, and run the command again"
    return next((reason for words, reason in _REASONS.items() if words in text), text)


def lock_holder(database: Path) -> str | None:
    """Return the other process that has a lock on a SQLite file, or None if the system does not list one."""
    with suppress(OSError):
        files = [database, *(Path(f"{database}{suffix}") for suffix in ("-wal", "-shm"))]
        inodes = {str(file.stat().st_ino) for file in files if file.exists()}
        locks = [line.split() for line in LOCKS.read_text().splitlines() if "->" not in line]
        # Columns: number, POSIX, ADVISORY, WRITE or READ, process, device:device:inode, start, end.
        owners = [(lock[3], lock[4]) for lock in locks if lock[5].rpartition(":")[2] in inodes]
        others = sorted((owner for owner in owners if owner[1] != str(os.getpid())), reverse=True)
        for _, pid in others[:1]:  # a writer precedes the readers
            words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").split()
            return f"process {pid} ({redact(' '.join(words[:MAX_WORDS]))})"
    return None
