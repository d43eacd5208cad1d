"""Waiting for a server that is away."""

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from tinyunet.core.errors import Unreachable, UserError

T = TypeVar("T")
OUTAGE_S, RETRY_S = 300.0, 1.0


def retry_while_unreachable(
    call: Callable[[], T],
    *,
    server: str = "the API server",
    forgiving: bool = False,
    seconds: float = OUTAGE_S,
) -> T:
    """Call again while a server is away.

    Args:
        call: What to do.
        server: Who is called.
        forgiving: Take a refusal for an outage too: a starting API server does not yet know its roles.
        seconds: Longest outage.

    Raises:
        Unreachable: after that.
    """
    start, passing, said = time.monotonic(), UserError if forgiving else Unreachable, False
    while True:
        try:
            return call()
        except passing as error:
            if time.monotonic() - start > seconds:
                raise Unreachable(f"no answer from {server} for {seconds:.0f} s: {error}") from error
            if not said:
                said = True
                print(f"{error}; trying again for {seconds:.0f} s", file=sys.stderr, flush=True)
            time.sleep(RETRY_S)
