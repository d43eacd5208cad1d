"""A server that goes away and comes back."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Gate:
    """A TCP relay to a server that can be shut."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._open = True
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def shut(self) -> None:
        self._open = False
        for each in self._sockets:
            hang_up(each)

    def reopen(self) -> None:
        self._open = True

    def close(self) -> None:
        self.shut()
        hang_up(self._server)
        self._server.close()
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(client)
            if not self._open:
                hang_up(client)
                continue
            server = socket.create_connection(self._target)
            self._sockets.append(server)
            for pair in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=relay, args=pair))
                self._threads[-1].start()


def hang_up(one: socket.socket) -> None:
    with suppress(OSError):  # the other side may have done so
        one.shutdown(socket.SHUT_RDWR)


def relay(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):  # the gate was shut
        while data := source.recv(65536):
            sink.sendall(data)
    hang_up(sink)
