"""A forward proxy, a private CA and a server with TLS, all on the loopback address."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from urllib.parse import urlsplit

import pytest

from tinyunet.core.network import CA_VARIABLES

PUBLIC_NAME = "store.example.test"  # the resolver of no machine knows it
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def forget_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unset the proxies and the CA files of this machine until the end of a test."""
    for name in (*PROXY_VARIABLES, *map(str.lower, PROXY_VARIABLES), *CA_VARIABLES):
        monkeypatch.setenv(name, "")  # also restores what the code under test sets
        monkeypatch.delenv(name)


class ForwardProxy(ThreadingTCPServer):
    """An HTTP proxy: it tunnels CONNECT, and forwards requests with an absolute URL.

    Attributes:
        requests: Method and target of every request.
        refuses: Answer 403 to every request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.requests: list[str] = []
        self.refuses = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _ProxyHandler(StreamRequestHandler):
    rbufsize = 0
    server: ForwardProxy

    def handle(self) -> None:
        lines = [self.rfile.readline()]
        while (line := self.rfile.readline()).strip():
            lines.append(line)
        if not lines[0]:
            return
        method, target, version = lines[0].decode().split()
        self.server.requests.append(f"{method} {target}")
        if self.server.refuses:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host = "127.0.0.1" if parts.hostname == PUBLIC_NAME else parts.hostname
        with socket.create_connection((host, parts.port or 80), timeout=10) as upstream:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                path = parts._replace(scheme="", netloc="").geturl() or "/"
                kept = [
                    line for line in lines[1:] if not line.lower().startswith((b"proxy-", b"connection:"))
                ]
                first = f"{method} {path} {version}\r\n".encode()
                upstream.sendall(b"".join([first, *kept, b"Connection: close\r\n\r\n"]))
            relay(self.connection, upstream)


class _Front(ThreadingTCPServer):
    daemon_threads = True
    target: tuple[str, int]
    context: ssl.SSLContext | None


class _FrontHandler(StreamRequestHandler):
    server: _Front

    def handle(self) -> None:
        client, context = self.connection, self.server.context
        with suppress(OSError):  # a client that does not trust the certificate ends the connection
            if context:
                client = context.wrap_socket(client, server_side=True)
            with client, socket.create_connection(self.server.target, timeout=10) as upstream:
                upstream.settimeout(None)
                relay(client, upstream)


def relay(client: socket.socket, server: socket.socket) -> None:
    """Copy bytes in both directions until the server or the client ends the connection."""
    thread = threading.Thread(target=copy, args=(client, server), daemon=True)
    thread.start()
    copy(server, client)
    thread.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def forward_proxy() -> Iterator[ForwardProxy]:
    with ForwardProxy() as proxy, _running(proxy):
        yield proxy


@contextmanager
def front(target: str, pem: Path | None = None) -> Iterator[int]:
    """Accept connections, of TLS with the certificate of pem, for a server of plain HTTP; yield the port."""
    parts = urlsplit(target)
    with _Front(("127.0.0.1", 0), _FrontHandler) as server:
        server.target = (str(parts.hostname), int(parts.port or 80))
        server.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if pem else None
        if server.context and pem:
            server.context.load_cert_chain(pem)
        with _running(server):
            yield int(server.server_address[1])


@contextmanager
def _running(server: ThreadingTCPServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


def private_ca(folder: Path) -> tuple[Path, Path]:
    """Return the certificate of a new CA, and the certificate and key that it signed for this machine."""
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    ca, ca_key, pem, certificate = (
        folder / name for name in ("ca.pem", "ca.key", "server.pem", "server.crt")
    )
    own = ["-subj", "/CN=private CA", "-keyout", ca_key, "-out", ca]
    names = f"subjectAltName=IP:127.0.0.1,DNS:{PUBLIC_NAME}"
    leaf = ["-subj", "/CN=server", "-addext", names, "-CA", ca, "-CAkey", ca_key]
    for arguments in (own, [*leaf, "-keyout", pem, "-out", certificate]):
        subprocess.run(["openssl", "req", "-x509", *ec, *arguments], check=True, capture_output=True)
    with pem.open("a") as file:
        file.write(certificate.read_text())
    return ca, pem
