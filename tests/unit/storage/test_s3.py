"""What a real object store does not do on demand: it breaks off, is busy, and tells what it was sent."""

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
    """A server that holds one object, s3://bucket/key.

    Attributes:
        broken: Answers left that break off half-way.
        busy: Answers left of a server that has too much to do.
        content: The object.
        tokens: Session tokens that it was shown.
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
    held = Store()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            held.answer(self)

        def do_HEAD(self) -> None:
            held.answer(self)

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
        yield held
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("failure", ["broken", "busy"])
def test_an_object_that_fails_twice_comes_whole_the_third_time(
    store: Store, failure: str, tmp_path: Path
) -> None:
    setattr(store, failure, 2)
    assert s3.fetch("s3://bucket/key", tmp_path / "x").read_bytes() == CONTENT
    assert getattr(store, failure) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_object_that_always_breaks_off_leaves_nothing_and_the_store_counts_as_away(
    store: Store, tmp_path: Path
) -> None:
    store.broken = 99
    with pytest.raises(Unreachable, match="s3://bucket/key at http://"):
        s3.fetch("s3://bucket/key", tmp_path / "x")
    assert store.broken == 96
    assert list(tmp_path.iterdir()) == []


def test_an_empty_object_is_one(store: Store, tmp_path: Path) -> None:
    store.content = b""
    assert s3.exists("s3://bucket/key")
    assert s3.fetch("s3://bucket/key", tmp_path / "x").read_bytes() == b""


def test_credentials_for_a_time_are_shown_with_their_token(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for an hour")
    assert s3.read_bytes("s3://bucket/key") == CONTENT
    assert store.tokens == {"for an hour"}


def test_an_endpoint_with_a_password_in_it_is_refused_without_telling_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://me:hidden@127.0.0.1:9")
    with pytest.raises(UserError, match=r"S3_ENDPOINT_URL is 'http://\*\*\*@127\.0\.0\.1:9'") as caught:
        s3.list_buckets()
    assert "hidden" not in str(caught.value)
