"""The limits of one connection of HTTP: how long a client may take, and how many clients there are."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class LimitedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 with limits of time that it lacks, and a limit of connections.

    The header of the first request, the bytes behind a finished answer, and the taking of an answer each have
    `read_timeout` seconds; then the connection ends. h11 limits the length of the header.
    """

    max_connections = 256
    read_timeout = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  those of uvicorn
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self.app_state = {**self.app_state, "taken": self._taken}

    async def _taken(self) -> None:
        """Wait until the client has taken the answer, but for the last 64 KiB, or has lost its connection."""
        await self.flow.drain()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection; refuse it if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            error = f"{self.max_connections} connections are open; try again in 1 s"
            transport.write(_message(b"503 Service Unavailable\r\nretry-after: 1", error))
            transport.close()
        self._expect()

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not a request of HTTP, and close the connection."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.write(_message(b"400 Bad Request", msg.rstrip(".")))
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Receive bytes; the header of a request ends the time that it has.

        It does not end the time for the answer to an earlier request that the client has not taken.
        """
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete and not self.flow.write_paused:
            self._relax()
        elif self._timer is None and not self.transport.is_closing():
            self._expect()

    def pause_writing(self) -> None:
        """Wait for a client that takes its answer slowly, but not for ever."""
        super().pause_writing()
        self._expect()

    def resume_writing(self) -> None:
        """Continue to write."""
        super().resume_writing()
        self._relax()

    def on_response_complete(self) -> None:
        """Limit the time for the rest of an unneeded body, and for an answer that is not yet taken."""
        super().on_response_complete()
        self._relax()
        unread = self.cycle is not None and self.cycle.more_body
        if unread or self.transport.get_write_buffer_size():
            self._expect()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        self._relax()
        super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._relax()
        super().connection_lost(exc)

    def _expect(self) -> None:
        self._relax()
        self._timer = self.loop.call_later(self.read_timeout, self.transport.abort)

    def _relax(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _message(status: bytes, error: str) -> bytes:
    """Return a whole answer with an error, after which the connection closes."""
    body = json.dumps({"error": error}).encode()
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
    return head % (status, len(body)) + body
