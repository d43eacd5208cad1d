"""Background processes are started once, found again and stopped completely."""

import sys
from pathlib import Path

import pytest

from tests.unit.devtools.conftest import Web
from tinyunet.core.errors import UserError
from tinyunet.devtools.processes import ensure_running, running_process, terminate


def test_a_service_is_started_once_and_stopped_completely(tmp_path: Path, web: Web) -> None:
    service, command = web
    ensure_running(tmp_path, service, lambda: command, {})
    first = running_process(tmp_path, "web")
    ensure_running(tmp_path, service, lambda: command, {})
    assert first is not None
    assert running_process(tmp_path, "web") == first
    assert service.healthy()
    terminate(first)
    assert running_process(tmp_path, "web") is None
    assert not service.healthy()


def test_a_service_is_found_although_a_proxy_is_set(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, command = web
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    ensure_running(tmp_path, service, lambda: command, {})
    assert service.healthy()


def test_a_service_that_ends_at_once_is_reported_with_its_last_line(tmp_path: Path, web: Web) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('the disk is full')"]
    with pytest.raises(UserError, match=r"web did not start: the disk is full; the whole log"):
        ensure_running(tmp_path, web[0], lambda: command, {})
    assert running_process(tmp_path, "web") is None
