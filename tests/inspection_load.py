"""Load on a running inspection server.

    python -m tests.inspection_load http://127.0.0.1:8080 photo.png --clients 8 --seconds 300 --pid PID

Clients send image files to /inspect one after the other, as fast as they are answered, on a connection each
that stays open; after an answer 429 they wait as long as it says. Printed are the throughput, the latencies,
the statuses, and the memory of the server from time to time.
"""

import argparse
import http.client
import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

MIB = 2**20
TIMEOUT_S = 60


@dataclass
class Load:
    """Clients of a server, and what they saw.

    Attributes:
        url: Address of the server.
        files: The image files.
        path: Path of the requests.
        token: Bearer token of the requests; empty for none.
        clients: Number of clients, a thread each.
        seconds: Latency of every answer with status 200, in order of time.
        versions: Version of the model of each of these answers.
        statuses: Status of every answer; `failed` for a request without an answer.
        failures: Time and reason of every request whose answer is neither 200 nor 429.
        lasted: Seconds in which the clients asked.
    """

    url: str
    files: Sequence[bytes]
    path: str = "/inspect"
    token: str = ""
    clients: int = 8
    seconds: list[float] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lasted: float = 0.0

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask during the block."""
        stop, start = threading.Event(), time.monotonic()
        threads = [threading.Thread(target=self._client, args=(i, stop)) for i in range(self.clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            self.lasted += time.monotonic() - start

    def summary(self) -> dict[str, object]:
        """Return throughput, latencies and statuses; it needs two answers."""
        cuts = statistics.quantiles(self.seconds, n=100)
        return {
            "seconds": round(self.lasted, 1),
            "img_per_s": round(len(self.seconds) / self.lasted, 2),
            "p50_ms": round(1000 * cuts[49], 1),
            "p99_ms": round(1000 * cuts[98], 1),
            "statuses": Counter(self.statuses),
        }

    def _client(self, number: int, stop: threading.Event) -> None:
        address = urlsplit(self.url).netloc
        connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
        while not stop.is_set():
            try:
                stop.wait(self._ask(connection, self.files[number % len(self.files)]))
            except (OSError, http.client.HTTPException) as error:
                self.statuses.append("failed")
                self._failed(repr(error))
                connection.close()
                stop.wait(0.05)
            number += 1
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, file: bytes) -> float:
        """Send one request; return the seconds to wait before the next one."""
        headers = {"Content-Type": "image/png"} | (
            {"Authorization": f"Bearer {self.token}"} if self.token else {}
        )
        start = time.monotonic()
        connection.request("POST", self.path, file, headers)
        answer = connection.getresponse()
        body = answer.read()
        self.statuses.append(str(answer.status))
        if answer.status == 429:
            return float(answer.headers["retry-after"])
        if answer.status != 200:
            self._failed(f"{answer.status} {body[:200]!r}")
            return 0.05
        self.seconds.append(time.monotonic() - start)
        self.versions.append(answer.headers["x-model-version"])
        return 0.0

    def _failed(self, reason: str) -> None:
        self.failures.append(f"{time.strftime('%H:%M:%S')} {reason}")


def main() -> None:
    """Parse the command line, run, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--path", default="/inspect")
    parser.add_argument("--token", default="")
    parser.add_argument("--pid", type=int, help="of the server: its memory is reported")
    a = parser.parse_args()
    load = Load(a.url, [path.read_bytes() for path in a.files], a.path, a.token, a.clients)
    sizes = []
    with load.asking():
        for _ in range(6):
            time.sleep(a.seconds / 6)
            if a.pid:
                sizes.append(psutil.Process(a.pid).memory_info().rss // MIB)
    print(json.dumps(load.summary() | {"failures": load.failures[:10], "memory_mib": sizes}))


if __name__ == "__main__":
    main()
