"""Measure `tinyunet serve` against MLflow's own server of the same model, and both from a cold start.

Every measurement starts a server process and waits for its first answer. Then CLIENTS clients ask at a time,
each as soon as it has an answer, by the usual request of the server: an image file for `/inspect`, the pixels
as JSON for `mlflow models serve`. The network is not trained, which does not change the speed.
"""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np
import requests
from PIL import Image

from tinyunet.bench import engines
from tinyunet.bench.compute import precisions, random_split
from tinyunet.bench.config import BenchConfig
from tinyunet.bench.measure import Case, Key, Values, repeat
from tinyunet.core.errors import UserError
from tinyunet.model.unet import build_unet
from tinyunet.registry.int8 import Loss, describe
from tinyunet.registry.logged_model import save_served_model
from tinyunet.registry.quantization import quantize
from tinyunet.serving.engine_files import Network, write_engine
from tinyunet.serving.operating_point import OperatingPoint
from tinyunet.serving.serving_model import serving_model

CLIENTS = 4
START_S = 120.0  # limit of a start
STOP_S = 15.0  # between SIGTERM and SIGKILL
POLL_S = 0.05
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Contender:
    """A server program and its request.

    Attributes:
        command: Command line, without the port.
        path: Path of the request.
        content_type: Of the body.
        body: An image of the size of the configuration.
    """

    command: tuple[str, ...]
    path: str
    content_type: str
    body: bytes


def serve_cases(config: BenchConfig, scratch: Path) -> dict[str, Case]:
    """Return the measurements of both servers: images/s, seconds to the first answer, time of an answer."""
    return {
        f"serve {name}": _case(name, contender, scratch / "serve.log")
        for name, contender in _contenders(config, scratch).items()
    }


def serve_unavailable_reason() -> str:
    """Return why the server cannot be measured on this machine; empty if it can."""
    return "" if find_spec("kserve") else "kserve is not installed (pip install 'tinyunet[serve]')"


def _contenders(config: BenchConfig, scratch: Path) -> dict[str, Contender]:
    """Write the models, and return the servers by their names."""
    size, point = config.image_size, OperatingPoint(0.5, 0.0)
    image = random_split(size, 1).images[0]
    network = build_unet(size, precision=precisions()[-1], plain=True)
    engine, saved = scratch / "engine", scratch / "mlflow-model"
    engine.mkdir()
    write_engine(engine, Network(network, size), point)
    quantize(engine, [image[None, ..., None].astype(np.float32)])
    describe(engine, Loss((), (), 0, 0, ()))
    save_served_model(serving_model(network, point.threshold, point.image_threshold, size), saved)
    png = io.BytesIO()
    Image.fromarray(image).save(png, "png")
    python = (sys.executable, "-m")
    serve = (*python, "tinyunet", "serve", str(engine), "--grpc-port", "0", "--host", HOST)
    mlflow = (*python, "mlflow", "models", "serve", "-m", str(saved), "--env-manager", "local")
    numbers = json.dumps({"inputs": image[None, ..., None].tolist()}).encode()
    return {
        **{
            f"tinyunet {p}": Contender((*serve, "--precision", p), "inspect", "image/png", png.getvalue())
            for p in engines.precisions()
        },
        "MLflow": Contender(mlflow, "invocations", "application/json", numbers),
    }


def _case(name: str, contender: Contender, log: Path) -> Case:
    def measure(seconds: float) -> Values:
        start = time.perf_counter()
        with _running(contender, log) as ask:
            first = time.perf_counter() - start
            start = time.perf_counter()
            with ThreadPoolExecutor(CLIENTS) as pool:
                parts = pool.map(lambda client: repeat(client, seconds), [ask() for _ in range(CLIENTS)])
                durations = list(chain.from_iterable(parts))
            rate = len(durations) / (time.perf_counter() - start)
        key = Key("serve", name, "first_answer_s")
        return {
            key._replace(figure="images_per_s"): [rate],
            key: [first],
            key._replace(figure="answer_ms"): [1000 * duration for duration in durations],
        }

    return measure


@contextmanager
def _running(contender: Contender, log: Path) -> Iterator[Callable[[], Callable[[], None]]]:
    """Run a server after its first answer; yield a function that returns a client, which asks when called."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    url = f"http://{HOST}:{port}/{contender.path}"

    def client() -> Callable[[], None]:
        session = requests.Session()
        session.trust_env = False  # no proxy
        session.headers["content-type"] = contender.content_type
        return lambda: session.post(url, contender.body, timeout=START_S).raise_for_status()

    # MLflow starts uvicorn from the PATH.
    env = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*contender.command, "--port", str(port)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, env=env,
        ) as process,
    ):  # fmt: skip
        try:
            _wait(client(), process, log)
            yield client
        finally:
            _stop(process)


def _wait(ask: Callable[[], None], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return ask()
        except requests.RequestException as error:
            if process.poll() is not None or time.monotonic() > deadline:
                lines = log.read_text(errors="replace").strip().splitlines() or [str(error)]
                raise UserError(
                    f"the server did not answer: {lines[-1][:200]}; --only GROUP,… measures without it"
                ) from error
            time.sleep(POLL_S)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server and the processes that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
