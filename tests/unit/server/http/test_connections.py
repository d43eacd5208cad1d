"""The limits of one connection of HTTP, with a real uvicorn and clients that take no answer."""

import asyncio
import socket
from typing import Any

import pytest
import uvicorn

from tinyunet.server.http.connections import LimitedProtocol

LARGE = bytes(20 << 20)
REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


class Impatient(LimitedProtocol):
    """The protocol with a short limit."""

    read_timeout = 0.3


async def waited(later: bytes) -> float:
    """Return how many seconds a server waits for a client that takes no answer, but sends `later`."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        length = (b"content-length", b"%d" % len(LARGE))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": LARGE})
        await scope["state"]["taken"]()
        ended.set()

    config = uvicorn.Config(answer, http=Impatient, port=0, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(server.servers[0].sockets[0].getsockname())
        start = loop.time()
        client.sendall(REQUEST)
        await asyncio.sleep(0.1)
        client.sendall(later)
        await asyncio.wait_for(ended.wait(), 5)
    server.should_exit = True
    await serving
    return loop.time() - start


@pytest.mark.parametrize("later", [b"", b"G", REQUEST, REQUEST * 3])
def test_nothing_that_a_client_sends_extends_the_time_to_take_an_answer(later: bytes) -> None:
    assert asyncio.run(waited(later)) < 3
