"""Bad requests to a real server: each gets one clear line, and costs nobody else anything."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests

from tests.bad_requests import ALL, GOOD, Bad
from tests.inspection_server import TOKEN, Server, start

MIB = 2**20


@pytest.fixture(autouse=True)
def environment() -> None:
    """Replace the fixture of this folder: the server needs neither MLflow nor MinIO."""


@pytest.fixture(scope="module")
def server(engine_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a token, small limits and a short patience."""
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(TOKEN)
    options = ("--token-file", str(token), "--max-pixels", "1000000", "--max-bytes", str(4 * MIB))
    with start(
        engine_folder, *options, "--read-timeout", "2", "--max-connections", "40", "--queue", "8"
    ) as one:
        yield one


@pytest.mark.parametrize("bad", ALL, ids=lambda bad: bad.name.replace(" ", "-"))
def test_a_bad_request_gets_one_clear_line(server: Server, bad: Bad) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": bad.kind, **bad.headers}
    answer = requests.request(bad.method, server.url + bad.path, data=bad.body, headers=headers, timeout=20)
    error = answer.json()["error"]
    assert (answer.status_code, list(answer.json())) == (bad.status, ["error"]), error
    assert bad.words in error
    assert "\n" not in error
    assert len(error) < 400
    assert not any(words in error for words in ("Traceback", "site-packages", "0x", "<_io"))
    assert answer.headers["x-request-id"]


def test_an_error_can_be_read_as_it_is_sent(server: Server) -> None:
    answer = server.post("/inspect", b"GIF89a", "text/plain")
    assert "multipart/form-data with a file, or image/…" in answer.content.decode()


def test_the_server_answers_as_before_after_all_of_them(server: Server) -> None:
    assert len(ALL) >= 60
    answer = server.inspect(GOOD)
    assert (answer.status_code, answer.json()["verdict"]) == (200, "clean")
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line for line in lines if line["level"] == "error"] == []


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def received(connection: socket.socket) -> bytes:
    """Return everything until the server closes the connection."""
    data = b""
    with suppress(ConnectionResetError):
        while more := connection.recv(65536):
            data += more
    return data


HEADER = (
    f"POST /inspect HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: image/png\r\n"
).encode()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET /v2 HTTP/1.1\r\n" + b"X-Long: " + b"x" * 200_000, 400),
        (HEADER + b"Content-Length: many\r\n\r\n", 400),
        (HEADER + b"Content-Length: -5\r\n\r\n", 400),
        (HEADER + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (HEADER + b"Content-Length: 99999999999999999999\r\n\r\n", 413),
        (HEADER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEADER + b"Content-Length: 100\r\n\r\nonly this", 408),
        (HEADER + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 408),
    ],
    ids=[
        *("TLS", "no-HTTP", "a-header-without-colon", "a-header-without-end", "a-length-of-words"),
        *("a-negative-length", "two-lengths", "an-endless-length", "a-broken-chunk"),
        *("a-body-that-stops", "chunks-that-stop"),
    ],
)
def test_broken_and_stopping_bytes_get_an_answer_and_their_connection_ends(
    server: Server, sent: bytes, status: int
) -> None:
    with connect(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(sent)
        head, _, body = received(connection).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), head
    assert list(json.loads(body)) == ["error"]


def test_a_client_that_sends_slowly_loses_its_connection_and_others_wait_for_nothing(server: Server) -> None:
    slow = [connect(server) for _ in range(10)]
    started = time.monotonic()
    for connection in slow:
        connection.sendall(HEADER[:-10])
    assert server.inspect(GOOD).status_code == 200
    assert time.monotonic() - started < 2
    for connection in slow:
        received(connection)
        connection.close()
    assert 1 < time.monotonic() - started < 10


def test_a_client_that_does_not_take_its_answer_loses_its_connection(server: Server) -> None:
    before = open_files(server)
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = f"GET /openapi.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        with suppress(ConnectionError):
            connection.sendall(request * 500)
        wait_until(lambda: open_files(server) <= before)
    assert server.inspect(GOOD).status_code == 200


def test_an_answer_that_is_not_taken_holds_its_place_in_the_queue_until_its_client_is_gone(
    server: Server,
) -> None:
    """The image has as many pixels as all images may have at a time; its answer in JSON has 20 MB."""
    size = b"1000,1000"
    head = b'{"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, %s, 1], "parameters": ' % size
    body = (head := head + b'{"binary_data_size": 1000000}}]}') + bytes(10**6)
    lines = f"Content-Length: {len(body)}\r\nInference-Header-Content-Length: {len(head)}\r\n"
    request = (
        f"POST /v2/models/engine/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n{lines}\r\n"
    )
    with connect(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request.encode() + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
        assert server.inspect(GOOD).status_code == 429
    wait_until(lambda: server.inspect(GOOD).status_code == 200)


def test_clients_that_leave_in_the_middle_cost_nothing(server: Server) -> None:
    memory, before = server.memory(), open_files(server)
    for _ in range(30):
        with connect(server) as connection:
            connection.sendall(HEADER + b"Content-Length: 4000000\r\n\r\n" + b"\0" * 300_000)
    wait_until(lambda: open_files(server) <= before)
    assert server.inspect(GOOD).status_code == 200
    assert server.memory() - memory < 40 * MIB


def test_more_connections_than_the_limit_are_refused_and_the_others_are_served(server: Server) -> None:
    before = open_files(server)
    with requests.Session() as session:
        url = f"{server.url}/v2/health/live"
        assert session.get(url, timeout=10).status_code == 200
        idle = [connect(server) for _ in range(39)]
        with connect(server) as one_more:
            assert received(one_more).startswith(b"HTTP/1.1 503 ")
        assert session.get(url, timeout=10).status_code == 200
    for connection in idle:
        connection.close()
    wait_until(lambda: open_files(server) <= before)
    assert server.inspect(GOOD).status_code == 200


def test_many_large_bad_requests_leave_the_memory_as_it_was(server: Server) -> None:
    bombs = [bad for bad in ALL if "bomb" in bad.name or "more bytes" in bad.name]
    assert len(bombs) >= 5
    for bad in bombs:
        test_a_bad_request_gets_one_clear_line(server, bad)
    memory = server.memory()
    for bad in bombs * 8:
        test_a_bad_request_gets_one_clear_line(server, bad)
    assert server.memory() - memory < 60 * MIB


def open_files(server: Server) -> int:
    """Return the number of open files of the server; a connection is one."""
    return psutil.Process(server.process.pid).num_fds()


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
