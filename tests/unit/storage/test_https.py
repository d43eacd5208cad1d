"""Downloads from a local HTTP server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.servers import PUBLIC_NAME, forget_network, forward_proxy, front, private_ca
from tinyunet.core.errors import UserError
from tinyunet.core.network import CA_VARIABLES
from tinyunet.storage.https import CHUNK, download

CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes


@dataclass
class Server:
    """A local HTTP server that closes the connection after `cut` bytes, `failures` times.

    Attributes:
        cut: Number of bytes of an incomplete answer.
        failures: Number of incomplete answers that are still to come.
        ranges: Range headers of the requests.
        location: Target of the redirect at /redirect.
        requests: Number of requests.
    """

    cut: int = 300_000
    failures: int = 0
    ranges: list[str | None] = field(default_factory=list)
    location: str = ""
    url: str = ""
    requests: int = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        if handler.path.startswith("/redirect"):
            handler.send_response(302)
            handler.send_header("Location", self.location)
            handler.end_headers()
        elif handler.path.startswith("/file"):
            self._send(handler)
        else:
            handler.send_error(404)

    def _send(self, handler: BaseHTTPRequestHandler) -> None:
        range_header = handler.headers.get("Range")
        self.ranges.append(range_header)
        start = int(range_header.removeprefix("bytes=").rstrip("-")) if range_header else 0
        body = CONTENT[start:]
        handler.send_response(206 if range_header else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.failures:
            self.failures -= 1
            body = body[: self.cut]
        handler.wfile.write(body)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_network(monkeypatch)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return private_ca(tmp_path_factory.mktemp("ca"))


def failure(url: str, dest: Path) -> str:
    with pytest.raises(UserError) as caught:
        download(url, dest)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_download_has_every_byte(tmp_path: Path) -> None:
    with serving(Server()) as server:
        path = download(f"{server.url}/file/Class%201.zip?x=1", tmp_path / "out")
    assert path == tmp_path / "out"
    assert path.read_bytes() == CONTENT


def test_an_interrupted_download_continues_at_its_last_whole_chunk(tmp_path: Path) -> None:
    with serving(Server(failures=2)) as server:
        path = download(f"{server.url}/file", tmp_path / "out")
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={4 * CHUNK}-", f"bytes={8 * CHUNK}-"]


def test_a_download_that_never_completes_leaves_no_file(tmp_path: Path) -> None:
    with serving(Server(failures=99, cut=10)) as server:
        assert "cannot be downloaded" in failure(f"{server.url}/file", tmp_path / "out")
    assert len(server.ranges) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_url_is_not_retried(tmp_path: Path) -> None:
    with serving(Server()) as server:
        assert "answers 404" in failure(f"{server.url}/absent", tmp_path / "out")
    assert server.requests == 1


def test_a_redirect_on_this_machine_is_followed(tmp_path: Path) -> None:
    with serving(Server()) as server:
        server.location = f"{server.url}/file"
        assert download(f"{server.url}/redirect", tmp_path / "out").read_bytes() == CONTENT


def test_plain_http_to_another_machine_is_refused_also_after_a_redirect(tmp_path: Path) -> None:
    assert "is not https" in failure("http://example.com/data.zip", tmp_path / "out")
    with serving(Server(location="http://192.0.2.1/data.zip")) as server:
        assert "http://192.0.2.1/data.zip is not https" in failure(f"{server.url}/redirect", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_server_is_reported_within_15_s(tmp_path: Path) -> None:
    start = time.monotonic()
    message = failure("http://127.0.0.1:9/data.zip", tmp_path / "out")
    assert message.startswith("http://127.0.0.1:9/data.zip cannot be downloaded")
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("url", ["https://me:hidden@host:port/x", "https://127.0.0.1:9/x?sig=hidden"])
def test_a_failed_download_names_its_url_without_credentials(url: str, tmp_path: Path) -> None:
    assert "hidden" not in failure(url, tmp_path / "out")


def test_a_private_ca_is_named_and_each_variable_with_its_file_helps(
    tmp_path: Path, certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, pem = certificates
    with serving(Server()) as server, front(server.url, pem) as port:
        url = f"https://127.0.0.1:{port}/file"
        message = failure(url, tmp_path / "out")
        assert "the certificate of the server is not accepted (unable to get local issuer" in message
        assert "; set REQUESTS_CA_BUNDLE to a file with the CA of the server" in message
        for name in CA_VARIABLES:
            with monkeypatch.context() as patch:
                patch.setenv(name, str(ca))
                assert download(url, tmp_path / name).read_bytes() == CONTENT
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca))
        assert "use the name of the server that the certificate contains" in failure(
            f"https://localhost:{port}/file", tmp_path / "out"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(CA_VARIABLES)


def test_a_server_without_tls_is_named(tmp_path: Path) -> None:
    with serving(Server()) as server:
        url = server.url.replace("http:", "https:")
        assert "the server does not use TLS at this port; write http://" in failure(url, tmp_path / "out")


def test_a_download_goes_through_the_proxy_and_one_from_this_machine_does_not(
    tmp_path: Path, certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, pem = certificates
    with forward_proxy() as proxy, serving(Server()) as server, front(server.url, pem) as port:
        for name, value in {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "SSL_CERT_FILE": ca}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("TINYUNET_ALLOW_HTTP", "1")
        secure, plain = f"{PUBLIC_NAME}:{port}", server.url.replace("127.0.0.1", PUBLIC_NAME)
        assert download(f"{server.url}/file", tmp_path / "direct").read_bytes() == CONTENT
        assert download(f"https://{secure}/file", tmp_path / "secure").read_bytes() == CONTENT
        server.location = f"{server.url}/file"
        assert download(f"{plain}/redirect", tmp_path / "plain").read_bytes() == CONTENT
        assert proxy.requests == [f"CONNECT {secure}", f"GET {plain}/redirect"]
        proxy.refuses = True
        message = failure(f"https://{secure}/file", tmp_path / "out")
        assert f"the proxy {proxy.url} does not connect to it (403 Forbidden)" in message
        monkeypatch.setenv("NO_PROXY", "example.test")
        assert "the proxy" not in failure(f"https://{secure}/file", tmp_path / "out")
