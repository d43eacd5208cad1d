"""The log: one JSON object per line."""

import json
import logging

import pytest

from tinyunet.server.logs import LOG, configure, log


@pytest.fixture(autouse=True)
def restored() -> object:
    root = logging.getLogger()
    saved = (LOG.handlers, LOG.propagate, LOG.level, root.handlers, root.level)
    yield
    logging.captureWarnings(False)
    LOG.handlers, LOG.propagate, root.handlers = saved[0], saved[1], saved[3]
    LOG.setLevel(saved[2])
    root.setLevel(saved[4])


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_fields_are_members_of_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    log("request", status=200, route="/inspect\n{}", ms=1.5)
    (line,) = lines(capsys)
    assert str(line.pop("time")).endswith("Z")
    expected = {"level": "info", "message": "request", "status": 200, "route": "/inspect\n{}", "ms": 1.5}
    assert line == expected


def test_an_error_has_its_traceback_in_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        LOG.exception("error of request %s", "abc")
    (line,) = lines(capsys)
    assert line["message"] == "error of request abc"
    assert "two\nlines" in str(line["traceback"])


def test_warnings_of_libraries_are_logged_but_not_their_information(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    assert [line["message"] for line in lines(capsys)] == ["Invalid HTTP request received."]
