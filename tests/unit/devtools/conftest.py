"""Tests here do not see this machine's settings; `web` is a small server to start and stop."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinyunet.devtools.processes import Service, free_port, running_process, terminate

Web = tuple[Service, list[str]]


@pytest.fixture(autouse=True)
def unset_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TINYUNET_", "MLFLOW_", "AWS_", "S3_")):
            monkeypatch.delenv(name)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """Python's own HTTP server as a service of the test's folder, and its command line."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    yield Service("web", f"http://127.0.0.1:{port}", "/", 20), command
    if process := running_process(tmp_path, "web"):
        terminate(process)
