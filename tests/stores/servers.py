"""Object stores as real processes on the loopback address: MinIO, SeaweedFS and moto."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests
import yaml

from tinyunet.devtools.processes import free_port
from tinyunet.devtools.services import store_program

HOST = "127.0.0.1"
START_S = 120.0
MANIFEST = Path(__file__).parents[2] / "k8s/components/seaweedfs/statefulset.yaml"
HEALTH = {"minio": "/minio/health/ready", "seaweedfs": "/healthz", "moto": "/moto-api/"}


@contextmanager
def running(name: str, folder: Path) -> Iterator[dict[str, str]]:
    """Run a store, and yield the environment variables of its clients."""
    port = free_port()
    env = {
        "S3_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": f"local-{secrets.token_hex(6)}",
        "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(24),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    (folder / "data").mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(name, folder, port), cwd=folder, env=os.environ | _own(name, env), stdout=log, stderr=log
        )
    try:
        _wait(process, env["S3_ENDPOINT_URL"] + HEALTH[name], folder / "log")
        yield env
    finally:
        process.kill()  # nobody reads its data again
        process.wait()


def command(name: str, folder: Path, port: int) -> list[str]:
    """Return the command line of a store."""
    if name == "moto":
        return [sys.executable, "-m", "moto.server", "--host", HOST, "--port", str(port)]
    if name == "minio":
        options = ["server", "--quiet", "--address", f"{HOST}:{port}"]
        return [store_program("minio"), *options, str(folder / "data")]
    return [store_program("seaweedfs"), *_seaweedfs_options(folder, port)]


def _seaweedfs_options(folder: Path, port: int) -> list[str]:
    """Return the options of the pod in the manifest, with free ports, on the loopback address."""
    pod = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]
    _, *options = pod["containers"][0]["command"]
    own = {"-s3.port": port, "-s3.ip.bind": HOST, "-dir": folder / "data", "-s3.port.grpc": free_port()}
    for part in ("master", "volume", "filer"):
        own |= {f"-{part}.port{kind}": free_port() for kind in ("", ".grpc")}
    kept = [option for option in options if option.partition("=")[0] not in own]
    return [*kept, *(f"{name}={value}" for name, value in own.items())]


def _own(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that give a server its only key; moto accepts any."""
    if name == "minio":
        key, secret = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
        return {"MINIO_ROOT_USER": key, "MINIO_ROOT_PASSWORD": secret, "MINIO_BROWSER": "off"}
    return dict(env) if name == "seaweedfs" else {}


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} does not answer: {log.read_text(errors='replace')[-2000:]}")
