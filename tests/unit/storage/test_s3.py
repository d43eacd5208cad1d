"""Failures of an object store that a real one does not produce on demand."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinyunet.core.errors import Unreachable, UserError
from tinyunet.storage import s3

CONTENT = bytes(range(256)) * 40


@dataclass
class Store:
    """A server with one object, s3://bucket/key.

    Attributes:
        broken: Number of answers to come that end after half of the object.
        busy: Number of answers to come with the status 503.
        content: The object.
        tokens: Session tokens of the requests.
    """

    broken: int = 0
    busy: int = 0
    content: bytes = CONTENT
    tokens: set[str | None] = field(default_factory=set)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.tokens.add(handler.headers.get("X-Amz-Security-Token"))
        if self.busy:
            self.busy -= 1
            handler.send_error(503)
            return
        body = self.content if handler.path == "/bucket/key" else b""
        handler.send_response(200 if handler.path == "/bucket/key" else 404)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", '"0"')
        handler.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        handler.end_headers()
        if handler.command == "GET":
            self.broken, half = max(self.broken - 1, 0), len(body) // 2 if self.broken else len(body)
            handler.wfile.write(body[:half])


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    store = Store()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            store.answer(self)

        def do_HEAD(self) -> None:
            store.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("S3_ENDPOINT_URL", f"http://127.0.0.1:{http.server_port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield store
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("failure", ["broken", "busy"])
def test_the_third_attempt_returns_the_whole_object(store: Store, failure: str, tmp_path: Path) -> None:
    setattr(store, failure, 2)
    assert s3.fetch("s3://bucket/key", tmp_path / "x").read_bytes() == CONTENT
    assert getattr(store, failure) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_object_that_is_never_complete_leaves_no_file_and_the_store_is_unreachable(
    store: Store, tmp_path: Path
) -> None:
    store.broken = 99
    with pytest.raises(Unreachable, match="s3://bucket/key at http://"):
        s3.fetch("s3://bucket/key", tmp_path / "x")
    assert store.broken == 96
    assert list(tmp_path.iterdir()) == []


def test_an_empty_object_exists(store: Store, tmp_path: Path) -> None:
    store.content = b""
    assert s3.exists("s3://bucket/key")
    assert s3.fetch("s3://bucket/key", tmp_path / "x").read_bytes() == b""


def test_temporary_credentials_are_sent_with_their_token(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "temporary")
    assert s3.read_bytes("s3://bucket/key") == CONTENT
    assert store.tokens == {"temporary"}


def test_an_endpoint_with_a_password_is_refused_without_printing_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://me:hidden@127.0.0.1:9")
    with pytest.raises(UserError, match=r"S3_ENDPOINT_URL is 'http://\*\*\*@127\.0\.0\.1:9'") as caught:
        s3.list_buckets()
    assert "hidden" not in str(caught.value)


def test_an_https_location_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "download", lambda url, dest: dest / url)
    assert s3.fetch("https://host/x.zip", tmp_path) == tmp_path / "https://host/x.zip"
