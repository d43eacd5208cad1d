"""A process of `tinyunet serve` on loopback, for tests."""

import io
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import requests
from numpy.typing import NDArray
from PIL import Image

TOKEN = "a-token-only-for-tests-0123456789"
START_S = 60.0


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        process: Its process.
        url: Its address.
        port: Its port of HTTP.
        grpc_port: Its port of gRPC; 0 without gRPC.
        version: Version of its model.
        log: File of its stderr.
    """

    process: "subprocess.Popen[str]"
    url: str
    port: int
    grpc_port: int
    version: str
    log: Path

    def get(self, path: str, **headers: Any) -> requests.Response:
        """Request a path with the token."""
        return requests.get(
            self.url + path, headers={"Authorization": f"Bearer {TOKEN}", **headers}, timeout=20
        )

    def post(self, path: str, data: bytes, kind: str, **headers: str) -> requests.Response:
        """Post a body of a content type with the token."""
        all_headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind, **headers}
        return requests.post(self.url + path, data, headers=all_headers, timeout=20)

    def inspect(self, data: bytes, **query: str) -> requests.Response:
        """Inspect an image file, sent as a form."""
        return requests.post(
            f"{self.url}/inspect",
            files={"file": ("photo.png", data)},
            params=query,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=60,
        )

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def wait_for_log(self, words: str) -> None:
        """Wait until the log has these words."""
        end = time.monotonic() + 30
        while words not in self.log.read_text():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)


@contextmanager
def start(folder: Path, *options: str) -> Iterator[Server]:
    """Start a server of an engine folder on a free port, without gRPC unless the options give a port."""
    grpc = () if "--grpc-port" in options else ("--grpc-port", "0")
    command = [sys.executable, "-m", "tinyunet", "serve", str(folder), "--port", "0", *grpc, *options]
    with TemporaryDirectory() as temporary:
        log = Path(temporary) / "log"
        with (
            log.open("w") as stderr,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
        ):
            try:
                assert process.stdout
                line = process.stdout.readline()
                assert line, log.read_text()
                yield _server(process, log)
            finally:
                with suppress(ProcessLookupError):
                    process.kill()


def _server(process: "subprocess.Popen[str]", log: Path) -> Server:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    (line,) = [one for one in lines if one["message"] == "serving"]
    port = int(line["address"].rsplit(":", 1)[1])
    return Server(process, line["address"], port, line["grpc_port"], line["version"], log)


def free_port() -> int:
    """Return a port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def picture(pixels: NDArray[Any], kind: str = "PNG") -> bytes:
    """Encode an image [H, W, 1] or [H, W, 3]."""
    data = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)).save(data, kind)
    return data.getvalue()
