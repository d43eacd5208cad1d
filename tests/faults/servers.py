"""The servers of the fault driver: MinIO and MLflow as real processes, with Toxiproxy in front of both."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from tinyunet.core.files import cache_folder
from tinyunet.devtools import services
from tinyunet.devtools.processes import HOST, Service, ensure_running, free_port, running_process, terminate
from tinyunet.storage import s3

TESTS = Path(__file__).parents[1]
NETWORKS = ("mlflow", "store", "artifacts")


class Toxiproxy:
    """One proxy for each connection: pipeline to MLflow, pipeline to MinIO, and MLflow to MinIO."""

    def __init__(self, url: str) -> None:
        self._url = url

    def add(self, name: str, upstream: str) -> str:
        """Forward a new port to a server; return the address for its clients."""
        proxy = {"name": name, "listen": f"{HOST}:0", "upstream": upstream.removeprefix("http://")}
        return f"http://{self._post('/proxies', proxy)['listen']}"

    def poison(self, name: str, kind: str, attributes: Mapping[str, int]) -> None:
        toxic = {"name": kind, "type": kind, "stream": "downstream", "attributes": attributes}
        self._post(f"/proxies/{name}/toxics", toxic)

    def cure(self) -> None:
        """Remove all toxics."""
        requests.post(f"{self._url}/reset", timeout=10).raise_for_status()

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = requests.post(self._url + path, json=body, timeout=10)
        answer.raise_for_status()
        return dict(answer.json())


class Servers:
    """MinIO and MLflow.

    Attributes:
        folder: Folder of their data, logs and pid files.
        env: Variables that select them, through the proxies.
        mlflow_url: Address of MLflow without a proxy.
        network: The proxies.
    """

    def __init__(self, folder: Path, network: Toxiproxy) -> None:
        self.folder, self.network = folder, network
        ports = {"mlflow": free_port(), "minio": free_port()}
        self._ports, self.mlflow_url = ports, f"http://{HOST}:{ports['mlflow']}"
        self._env = services._environment(folder, ports["mlflow"], ports["minio"])
        store = self._env["S3_ENDPOINT_URL"]
        addresses = {
            "MLFLOW_TRACKING_URI": network.add("mlflow", self.mlflow_url),
            "S3_ENDPOINT_URL": network.add("store", store),
        }
        self.env = self._env | addresses
        self._artifacts = network.add("artifacts", store)

    def ensure(self, name: str) -> None:
        """Start a server that does not run, and wait until it is healthy."""
        service: Service = next(s for s in services._services(self._env) if s.name == name)
        port = self._ports[name]
        if name == "minio":
            command, env = services._minio_command, services._minio_env(self._env)
        else:
            command, env = services._mlflow_command, services._mlflow_env(self._mlflow_store())
        ensure_running(self.folder, service, lambda: command(self.folder, port), env)

    def kill(self, name: str) -> None:
        process = running_process(self.folder, name)
        assert process, f"{name} does not run"
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                member.kill()

    def mlflow(self, path: str, **body: Any) -> dict[str, Any]:
        """Call MLflow's REST API, without a proxy: GET with a query, or POST to a path of a search."""
        url = f"{self.mlflow_url}/api/2.0/mlflow/{path}"
        posts = path.endswith("search") and not path.startswith("registered-models")
        answer = requests.post(url, json=body, timeout=30) if posts else requests.get(url, body, timeout=30)
        return dict(answer.json())

    def unfinished_uploads(self) -> list[Path]:
        """Return the parts of multipart uploads that nobody has completed, from MinIO's disk."""
        return [path for path in (self.folder / "minio/.minio.sys/multipart").rglob("*") if path.is_file()]

    def _mlflow_store(self) -> dict[str, str]:
        return self._env | {"S3_ENDPOINT_URL": self._artifacts}


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """Start Toxiproxy, MinIO and MLflow; stop them after the block."""
    with _toxiproxy(folder) as network:
        running = Servers(folder, network)
        try:
            running.ensure("minio")
            with services._environment_set(running.env):
                for bucket in services.BUCKETS:
                    s3.make_bucket(bucket)
            running.ensure("mlflow")
            yield running
        finally:
            services.stop(folder)


@contextmanager
def _toxiproxy(folder: Path) -> Iterator[Toxiproxy]:
    build = [str(TESTS / "cluster/programs/build.sh"), str(cache_folder() / "faults")]
    done = subprocess.run(
        [*build, str(TESTS / "faults/programs")], stdout=subprocess.PIPE, check=True, text=True
    )
    port = free_port()
    with (folder / "toxiproxy.log").open("wb") as log:
        command = [f"{done.stdout.strip()}/server", "-host", HOST, "-port", str(port)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))
    try:
        _wait_until_it_answers(f"http://{HOST}:{port}/version")
        yield Toxiproxy(f"http://{HOST}:{port}")
    finally:
        terminate(psutil.Process(process.pid))
        process.wait()


def _wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return requests.get(url, timeout=5).raise_for_status()
        except requests.RequestException:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.1)
