"""Read the body of a request, within limits of size and time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from tinyunet.server.admission import Admission
from tinyunet.server.errors import RequestError, shortened


@asynccontextmanager
async def body_of(request: Request, admission: Admission, timeout_s: float) -> AsyncIterator[bytes]:
    """Read the whole body; its room is held until the end of the block.

    Raises:
        RequestError: 408 if it takes longer than `timeout_s`, 413 if it is too large, 415 if it is
            compressed, 429 without room for it.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RequestError(
            415, f"Content-Encoding is {shortened(encoding)}; expected a body without compression"
        )
    with admission.hold_body() as room:
        room.grow(int(request.headers.get("content-length", "0")))
        chunks, size = [], 0
        try:
            async with asyncio.timeout(timeout_s):
                async for chunk in request.stream():
                    size += len(chunk)
                    room.grow(size)
                    chunks.append(chunk)
        except TimeoutError as error:
            raise RequestError(
                408, f"{size} bytes of the body in {timeout_s:g} s; expected all of it"
            ) from error
        body = b"".join(chunks)
        chunks.clear()  # otherwise every body would be in memory twice
        yield body
