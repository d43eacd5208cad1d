"""A TCP proxy, with which a test makes a server unreachable for a while, or delays some requests."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit


class Proxy:
    """Forwards connections to a server until it is stopped.

    Attributes:
        url: Address for clients.
        requests: First lines of the requests.

    Args:
        target: Address of the server.
        held: Requests whose first line contains this text wait for `release`.
    """

    def __init__(self, target: str, held: str = "\n") -> None:
        self.requests: list[str] = []
        self._held, self._released = held, threading.Event()
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._forwarding = True
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self) -> None:
        """End all connections and refuse new ones."""
        self._forwarding = False
        for connection in self._sockets:
            shut_down(connection)

    def resume(self) -> None:
        """Accept connections again."""
        self._forwarding = True

    def release(self) -> None:
        """Forward the held requests, and hold no more."""
        self._released.set()

    def close(self) -> None:
        self.release()
        self.stop()
        shut_down(self._server)
        self._server.close()
        for thread in self._threads:
            thread.join()
        for connection in self._sockets:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(client)
            if not self._forwarding:
                shut_down(client)
                continue
            server = socket.create_connection(self._target)
            self._sockets.append(server)
            for pair in ((client, server, self._receive), (server, client)):
                self._threads.append(threading.Thread(target=forward, args=pair))
                self._threads[-1].start()

    def _receive(self, data: bytes) -> None:
        line = data.split(b"\r\n")[0].decode(errors="replace")
        if not line.endswith(" HTTP/1.1"):
            return  # a part of a body, which may contain any bytes
        self.requests.append(line)
        if self._held in line:
            self._released.wait()


def shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # the other side may already have ended the connection
        connection.shutdown(socket.SHUT_RDWR)


def forward(
    source: socket.socket, sink: socket.socket, receive: Callable[[bytes], None] = lambda _: None
) -> None:
    with suppress(OSError):  # `stop` ended the connection
        while data := source.recv(65536):
            receive(data)
            sink.sendall(data)
    shut_down(sink)
