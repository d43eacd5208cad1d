"""Retry calls to a server that does not answer."""

import time
from collections.abc import Callable
from typing import TypeVar

from tinyunet.core.console import say
from tinyunet.core.errors import Unreachable, UserError

T = TypeVar("T")
TIMEOUT_S, RETRY_S = 300.0, 1.0


def retry_while_unreachable(
    call: Callable[[], T],
    *,
    server: str = "the API server",
    also_refusals: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> T:
    """Call a function, and repeat the call until the server answers.

    Args:
        call: The function; it raises Unreachable if the server does not answer.
        server: Name of the server in error messages.
        also_refusals: Retry after every UserError, not only after Unreachable. A Kubernetes API server that
            is starting refuses requests because it has not loaded its roles yet.
        timeout_s: Seconds after which the call is not repeated any more.

    Returns:
        The result of `call`.

    Raises:
        Unreachable: if the server does not answer for `timeout_s` seconds.
    """
    start, retried, reported = time.monotonic(), UserError if also_refusals else Unreachable, False
    while True:
        try:
            return call()
        except retried as error:
            if time.monotonic() - start > timeout_s:
                raise Unreachable(f"no answer from {server} for {timeout_s:.0f} s: {error}") from error
            if not reported:
                reported = True
                say(f"{error}; trying again for {timeout_s:.0f} s")
            time.sleep(RETRY_S)
