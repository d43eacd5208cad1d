"""What every request passes: ids, tokens, and the last resort of an error of the server."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse

from tinyunet.server.authentication import TokenFile
from tinyunet.server.http.gate import Gate, request_id
from tinyunet.server.inspector import Station
from tinyunet.server.metrics import Metrics


def ask(app: Any, station: Station, path: str = "/v2", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request through the gate; return status, headers and body; the status 0 is no answer."""
    names = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "path": path, "method": "GET", "headers": names, "query_string": b""}
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Gate(app, station)(scope, receive, send))
    if not sent:
        return 0, {}, b""
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.fixture
def station() -> Station:
    return Station(cast("Any", None), Metrics())


async def fine(scope: Any, receive: Any, send: Any) -> None:
    await PlainTextResponse("fine")(scope, receive, send)


async def broken(scope: Any, receive: Any, send: Any) -> None:
    raise RuntimeError("secret detail")


async def left(scope: Any, receive: Any, send: Any) -> None:
    raise ClientDisconnect


def test_an_error_of_the_server_tells_the_client_its_id_and_the_log_the_reason(
    station: Station, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("tinyunet.server"), "propagate", True)
    status, headers, body = ask(broken, station, x_request_id="line-3")
    assert (status, json.loads(body)) == (500, {"error": "error of the server; request id line-3"})
    assert headers["x-request-id"] == "line-3"
    (record,) = [one for one in caplog.records if one.exc_info]
    assert "secret detail" in str(record.exc_info)
    assert 'tinyunet_requests_total{route="other",status="500"} 1.0' in station.metrics.text().decode()


def test_a_client_that_has_gone_is_counted_and_is_no_error(station: Station) -> None:
    assert ask(left, station)[0] == 0
    assert 'tinyunet_requests_total{route="other",status="499"} 1.0' in station.metrics.text().decode()


def test_answers_close_their_connection_while_the_server_stops(station: Station) -> None:
    assert "connection" not in ask(fine, station)[1]
    station.ready = False
    assert ask(fine, station)[1]["connection"] == "close"


def test_only_health_and_the_page_pass_without_a_token(station: Station, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef")
    station.token = TokenFile(tmp_path / "token")
    for path in ("/", "/v2/health/live", "/v2/health/ready"):
        assert ask(fine, station, path)[0] == 200
    for path in ("/v2", "/v2/health/live/", "//", "/inspect", "/metrics"):
        assert ask(fine, station, path)[0] == 401
        assert ask(fine, station, path, authorization="Bearer 0123456789abcdef")[0] == 200
    station.open_metrics = True
    assert ask(fine, station, "/metrics")[0] == 200


@pytest.mark.parametrize("hostile", [None, "", "a b", "a\nb", 'a"b', "ä", "x" * 129])
def test_ids_that_could_break_a_log_are_replaced(hostile: str | None) -> None:
    new = request_id(hostile)
    assert new != hostile
    assert len(new) == 32
    assert request_id("line-3.cam:7_x") == "line-3.cam:7_x"
