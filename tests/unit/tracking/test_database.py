"""Errors of a real SQLite database of MLflow, with real locks of other processes."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.tracking.client import mlflow_errors, open_client
from tinyunet.tracking.database import lock_holder

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
cursor = connection.execute(sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(database: Path, statement: str) -> Iterator[int]:
    """Lock a database in another process, and yield the number of the process."""
    command = [sys.executable, "-c", LOCK, str(database), statement]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.communicate()


def use(database: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the message of a request to a database; SQLite waits 0.1 s for a lock instead of 5 s."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}?timeout=0.1")
    with pytest.raises(UserError) as caught, mlflow_errors():
        open_client(existing=True).create_experiment("x")
    return str(caught.value).partition("timeout=0.1: ")[2]


def test_the_process_that_locks_the_database_is_named(
    database: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with locked(database, "BEGIN EXCLUSIVE") as process:
        message = use(database, monkeypatch)
    assert message.startswith(f"the database is locked by process {process} ({sys.executable} -c")
    assert message.endswith("; wait for its end, or stop it, and run the command again")
    assert "\n" not in message
    assert capfd.readouterr().err == ""
    assert lock_holder(database) is None


def test_a_process_that_reads_is_named_if_no_process_writes(database: Path) -> None:
    with locked(database, "SELECT * FROM experiments") as reader:
        with locked(database, "BEGIN IMMEDIATE") as writer:
            assert (lock_holder(database) or "").startswith(f"process {writer} (")
        assert (lock_holder(database) or "").startswith(f"process {reader} (")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("text", "its file is not a SQLite database; set MLFLOW_TRACKING_URI to another"),
        ("damaged", "its file is damaged; restore it from a copy"),
        ("full", "the disk is full; free some space"),
    ],
)
def test_a_file_that_cannot_be_used_is_reported_in_one_line(
    name: str, words: str, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "text":
        database.write_text("no database" * 100)
    elif name == "damaged":
        data = database.read_bytes()
        database.write_bytes(data[:100] + b"\xff" * 4096 + data[4196:])
    else:
        monkeypatch.setattr("mlflow.MlflowClient.create_experiment", full_disk)
    assert use(database, monkeypatch).startswith(words)


def full_disk(*_: object) -> None:
    """Raise the error of SQLite on a disk without space: a database that may not grow."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA max_page_count = 2")
    from mlflow.exceptions import MlflowException

    try:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    except sqlite3.Error as error:
        raise MlflowException("x") from error
