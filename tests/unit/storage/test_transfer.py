"""Transfers without an object store: downloads from a real local server, names, redaction, whole files."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path, cache_folder, require_space
from tinyunet.core.redaction import redact
from tinyunet.storage import s3
from tinyunet.storage.transfer import QUIET_S, THREADS, Transfer, run_concurrently, safe_target, split_uri

SETUP = Path(__file__).parents[3] / ".ci" / "setup"
CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes


@dataclass
class Server:
    """A local HTTP server that breaks off after `cut` bytes, `failures` times.

    Attributes:
        cut: Bytes sent of an answer that breaks off.
        failures: Answers left that break off.
        ranges: Range headers seen.
        location: Redirect target of /redirect.
        requests: Requests seen.
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
        wanted = handler.headers.get("Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = CONTENT[start:]
        handler.send_response(206 if wanted else 200)
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


def failure(url: str, dest: Path) -> str:
    with pytest.raises(UserError) as caught:
        s3.fetch(url, dest)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_download_has_every_byte(tmp_path: Path) -> None:
    with serving(Server()) as server:
        got = s3.fetch(f"{server.url}/file/Class%201.zip?x=1", tmp_path / "out")
    assert got == tmp_path / "out"
    assert got.read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with serving(Server(failures=2)) as server:
        got = s3.fetch(f"{server.url}/file", tmp_path / "out")
    assert got.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=262144-", "bytes=524288-"]  # 4 and 8 chunks of 65,536 bytes


def test_a_download_that_never_completes_leaves_nothing(tmp_path: Path) -> None:
    with serving(Server(failures=99, cut=10)) as server:
        assert "cannot be downloaded" in failure(f"{server.url}/file", tmp_path / "out")
    assert len(server.ranges) == 4
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_url_is_not_tried_again(tmp_path: Path) -> None:
    with serving(Server()) as server:
        assert "answers 404" in failure(f"{server.url}/absent", tmp_path / "out")
    assert server.requests == 1


def test_a_redirect_on_this_machine_is_followed(tmp_path: Path) -> None:
    with serving(Server()) as server:
        server.location = f"{server.url}/file"
        assert s3.fetch(f"{server.url}/redirect", tmp_path / "out").read_bytes() == CONTENT


def test_plain_http_to_another_machine_is_refused_even_behind_a_redirect(tmp_path: Path) -> None:
    assert "is not https" in failure("http://example.com/data.zip", tmp_path / "out")
    with serving(Server(location="http://192.0.2.1/data.zip")) as server:
        assert "http://192.0.2.1/data.zip is not https" in failure(f"{server.url}/redirect", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_named_within_15_s(tmp_path: Path) -> None:
    began = time.monotonic()
    message = failure("http://127.0.0.1:9/data.zip", tmp_path / "out")
    assert message.startswith("http://127.0.0.1:9/data.zip cannot be downloaded")
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:pass@host/x", "https://***@host/x"),
        ("postgresql://u:p@db:5432/mlflow", "postgresql://***@db:5432/mlflow"),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=abc&part=1",
            "https://b.s3.amazonaws.com/k?X-Amz-Signature=***&part=1",
        ),
        ("https://h/x?a=1&access_token=t", "https://h/x?a=1&access_token=***"),
        ("https://b/k?sv=1&sig=a%2Fb&se=2", "https://b/k?sv=1&sig=***&se=2"),
        (
            '"source": "https://u:p@q@h/x?X-Amz-Credential=k", "n": 1',
            '"source": "https://***@h/x?X-Amz-Credential=***", "n": 1',
        ),
        (
            "Max retries exceeded with url: /x?X-Amz-Security-Token=t (Caused by …)",
            "Max retries exceeded with url: /x?X-Amz-Security-Token=*** (Caused by …)",
        ),
        ('see "https://h/x", mail a@b: key=value', 'see "https://h/x", mail a@b: key=value'),
        ("synthetic://?train=24&seed=7", "synthetic://?train=24&seed=7"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_credentials_vanish_from_uris_and_nothing_else_does(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize("url", ["https://me:hidden@host:port/x", "https://127.0.0.1:9/x?sig=hidden"])
def test_a_download_that_fails_names_its_url_without_secrets(url: str, tmp_path: Path) -> None:
    assert "hidden" not in failure(url, tmp_path / "out")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\..\\x", "", "a\0b"])
def test_names_that_lead_out_of_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a safe file name"):
        safe_target(tmp_path, name)


def test_plain_names_stay_in_the_folder(tmp_path: Path) -> None:
    assert safe_target(tmp_path, "a/b..c/d.bin") == tmp_path / "a" / "b..c" / "d.bin"


@pytest.mark.parametrize("key", ["a/../b", "..", "a/./b", "./b"])
def test_an_object_whose_name_is_a_way_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=r"has '\.' or '\.\.' in its name"):
        split_uri(f"s3://bucket/{key}")


def test_the_first_failure_ends_the_others_that_wait_and_is_raised() -> None:
    called = []

    def fail_first(item: int) -> None:
        called.append(item)
        if not item:
            raise UserError("object 0 is gone")
        time.sleep(0.1)

    with pytest.raises(UserError, match="object 0 is gone"):
        run_concurrently(fail_first, range(40 * THREADS))
    assert len(called) < 30 * THREADS


def test_a_long_transfer_tells_how_far_it_is_and_no_secret(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with Transfer("download https://u:p@host/x?sig=s", 40_000_000) as transfer:
        for seconds in (QUIET_S - 1, 1, 1, QUIET_S - 1):
            now[0] += seconds
            transfer.advance(5_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "download https://***@host/x?sig=***: 10.0/40.0 MB, 2.0 MB/s, ETA 15 s",
        "download https://***@host/x?sig=***: 20.0/40.0 MB, 2.0 MB/s, ETA 10 s",
    ]


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("x", "old")]


def test_what_a_killed_transfer_left_is_no_part_of_the_next(tmp_path: Path) -> None:
    (tmp_path / "x.part").mkdir()
    (tmp_path / "x.part" / "old").touch()
    with atomic_path(tmp_path / "x") as part:
        part.mkdir()
        (part / "new").touch()
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")] == ["x", "x/new"]


def test_a_transfer_larger_than_the_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="make room"):
        require_space(tmp_path / "new" / "x", 10**18)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "/home/mpiuser/.cache/tinyunet"),
        ({"XDG_CACHE_HOME": "/somewhere"}, "/somewhere/tinyunet"),
        ({"XDG_CACHE_HOME": "/somewhere", "TINYUNET_CACHE": "/elsewhere"}, "/elsewhere"),
    ],
)
def test_setup_and_library_have_one_cache_folder(
    changes: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("XDG_CACHE_HOME", "TINYUNET_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"HOME": "/home/mpiuser"} | changes).items():
        monkeypatch.setenv(name, value)
    (rule,) = (line for line in SETUP.read_text().splitlines() if line.startswith("cache="))
    said = subprocess.run(
        ["bash", "-c", f'{rule}; echo "$cache"'], stdout=subprocess.PIPE, text=True, check=True
    )
    assert said.stdout.strip() == str(cache_folder()) == expected
