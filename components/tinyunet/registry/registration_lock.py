"""The lock of a registered model: one process at a time changes its versions and its alias.

MLflow has neither transactions nor conditional writes. Processes wait for the lock in a queue, by Lamport's
bakery algorithm ("A New Solution of Dijkstra's Concurrent Programming Problem", 1974), which needs only reads
and writes. Its variables are tags of the registered model, one tag per waiting process, so that it works with
every server and every database.

The lock does not protect against

- a process that is suspended for more than `LEASE_S` seconds while it holds the lock and continues later,
  because another process has removed it from the queue;
- a user who moves the alias in the dashboard at the same moment;
- an MLflow server that reads from a replica of its database, because the replica can be late.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tinyunet.core.console import say
from tinyunet.core.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREFIX = "tinyunet.queue."  # a tag is PREFIX and the id of a process; its value is a number in the queue
UNNUMBERED = "0"  # the value while the process has no number yet
LEASE_S, POLL_S, REPORT_S = 60.0, 0.1, 5.0


@contextmanager
def registration_lock(client: "MlflowClient", name: str) -> Iterator[None]:
    """Hold the lock of a registered model; wait until no other process holds it.

    The tag of a process that was killed in the queue remains. The next process waits for `LEASE_S` seconds
    and then deletes this tag.

    Args:
        client: Client of the registry.
        name: Name of an existing registered model.
    """
    process = secrets.token_hex(8)
    try:
        client.set_registered_model_tag(name, PREFIX + process, UNNUMBERED)
        number = 1 + max(_read_queue(client, name).values())
        client.set_registered_model_tag(name, PREFIX + process, str(number))
        _wait(client, name, process, number)
        yield
    finally:
        _leave(client, name, process)


def _read_queue(client: "MlflowClient", name: str) -> dict[str, int]:
    """Return the numbers of all processes in the queue, by their ids; 0 means no number yet."""
    tags = client.get_registered_model(name).tags.items()
    return {key.removeprefix(PREFIX): int(value) for key, value in tags if key.startswith(PREFIX)}


def _wait(client: "MlflowClient", name: str, process: str, number: int) -> None:
    """Wait until this process is the first one in the queue."""
    waiting_for, since, reported = None, time.monotonic(), False
    while True:
        queue = sorted((value, key) for key, value in _read_queue(client, name).items())
        if (number, process) not in queue:
            raise UserError(f"another process removed this one from the queue of {name!r}; register again")
        if queue[0] == (number, process):
            return
        if queue[0] != waiting_for:
            waiting_for, since = queue[0], time.monotonic()
        waited = time.monotonic() - since
        if waited > LEASE_S:
            _leave(client, name, queue[0][1])
        elif waited > REPORT_S and not reported:
            reported = True
            say(f"waiting for another registration of {name!r}, at most {LEASE_S:.0f} s")
        # Processes at the end of the queue read it less often.
        time.sleep(POLL_S * queue.index((number, process)))


def _leave(client: "MlflowClient", name: str, process: str) -> None:
    """Remove a process from the queue; if the server cannot be reached, the next process does it later."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):
        client.delete_registered_model_tag(name, PREFIX + process)
