"""Load on a running inspection server.

    python -m tests.inspection_load http://127.0.0.1:8080 photo.png --pid PID

Clients send image files to /inspect one after the other, as fast as they are answered. Printed are the
throughput, the latencies, the statuses, and the server's memory from time to time.
"""

import argparse
import http.client
import json
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

MIB = 2**20


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        seconds: Latency of every answer with status 200, in order of time.
        statuses: Number of answers by status; `failed` counts requests without an answer.
        memory: Resident memory of the server in bytes, once per second.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)


def run(url: str, files: list[bytes], *, clients: int, seconds: float, path: str, pid: int | None) -> Load:
    """Send requests for some seconds."""
    load, end = Load(), time.monotonic() + seconds
    threads = [
        threading.Thread(target=_client, args=(load, url, path, files[i % len(files) :] + files, end))
        for i in range(clients)
    ]
    for thread in threads:
        thread.start()
    while pid and time.monotonic() < end:
        load.memory.append(psutil.Process(pid).memory_info().rss)
        time.sleep(min(1.0, max(0.0, end - time.monotonic())))
    for thread in threads:
        thread.join()
    return load


def _client(load: Load, url: str, path: str, files: list[bytes], end: float) -> None:
    address = urlsplit(url).netloc
    connection = http.client.HTTPConnection(address, timeout=60)
    number = 0
    while time.monotonic() < end:
        start = time.monotonic()
        try:
            connection.request("POST", path, files[number % len(files)], {"Content-Type": "image/png"})
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            load.statuses["failed"] += 1
            connection.close()
            time.sleep(0.05)
            continue
        number += 1
        load.statuses[str(answer.status)] += 1
        if answer.status == 200:
            load.seconds.append(time.monotonic() - start)
        elif answer.status == 429:
            time.sleep(float(answer.headers["retry-after"]))


def main() -> None:
    """Parse the command line, run, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--path", default="/inspect")
    parser.add_argument("--pid", type=int, help="of the server: its memory is reported")
    a = parser.parse_args()
    files = [path.read_bytes() for path in a.files]
    load = run(a.url, files, clients=a.clients, seconds=a.seconds, path=a.path, pid=a.pid)
    cuts = statistics.quantiles(load.seconds, n=100)
    print(
        json.dumps(
            {
                "img_per_s": round(len(load.seconds) / a.seconds, 2),
                "p50_ms": round(1000 * cuts[49], 1),
                "p99_ms": round(1000 * cuts[98], 1),
                "statuses": load.statuses,
                "memory_mib": [round(value / MIB) for value in load.memory[:: max(1, len(load.memory) // 5)]],
            }
        )
    )


if __name__ == "__main__":
    main()
