"""Local services as real processes: MinIO, and an MLflow server that stores its artifacts in MinIO.

`tinyunet services {start,stop}` stores everything in runs/services: the data, the logs, the pid files, and
`env`, which a shell can source. `env` contains the addresses and random credentials; its mode is 0600. The
variables TINYUNET_MLFLOW_PORT (default: 5000) and TINYUNET_MINIO_PORT (default: 9000) set the ports. All
servers listen on 127.0.0.1 only.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_path, cache_folder
from tinyunet.core.network import no_proxy
from tinyunet.devtools.processes import HOST, Service, ensure_running, free_port, running_process, terminate
from tinyunet.storage import s3

FOLDER = Path("runs/services")
BUCKETS = ("mlflow", "tinyunet")


def start(folder: Path = FOLDER, *, mlflow_port: int = 5000, minio_port: int = 9000) -> dict[str, str]:
    """Start the services that do not run yet, and wait until both are healthy.

    Args:
        folder: Folder of data, logs, pid files and `env`.
        mlflow_port: Port of MLflow's server and UI.
        minio_port: Port of MinIO's S3 API.

    Returns:
        The environment variables that make TinyUNet use the services.

    Raises:
        UserError: if a port is in use, MinIO cannot be built or a service does not start.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    env = _environment(folder, mlflow_port, minio_port)
    minio, mlflow = _services(env)
    ensure_running(folder, minio, lambda: _minio_command(folder, minio_port), _minio_env(env))
    with _environment_set(env):
        for bucket in BUCKETS:
            s3.make_bucket(bucket)
    ensure_running(folder, mlflow, lambda: _mlflow_command(folder, mlflow_port), _mlflow_env(env))
    return env


def stop(folder: Path = FOLDER) -> list[str]:
    """Stop the services that `start` started in this folder, and return their names."""
    stopped = []
    for name in ("mlflow", "minio"):
        if process := running_process(folder, name):
            terminate(process)
            stopped.append(name)
        (folder / f"{name}.pid").unlink(missing_ok=True)
    return stopped


@contextmanager
def local_services(folder: Path) -> Iterator[dict[str, str]]:
    """Run both services on free ports inside a `with` block, and yield their environment variables."""
    try:
        yield start(folder, mlflow_port=free_port(), minio_port=free_port())
    finally:
        stop(folder)


def read_env(folder: Path = FOLDER) -> dict[str, str]:
    """Read the `env` file of a folder; return an empty dictionary if there is none."""
    path = folder / "env"
    lines = path.read_text().splitlines() if path.is_file() else []
    pairs = [line.removeprefix("export ").partition("=") for line in lines]
    return {name: value for name, _, value in pairs}


def _services(env: Mapping[str, str]) -> list[Service]:
    if not env:
        return []
    return [
        Service("minio", env["S3_ENDPOINT_URL"], "/minio/health/ready", 30),
        Service("mlflow", env["MLFLOW_TRACKING_URI"], "/health", 180),  # 23 s on 2 idle cores
    ]


def _environment(folder: Path, mlflow_port: int, minio_port: int) -> dict[str, str]:
    """Write `env` with the credentials of an earlier start, or with new ones, and return its variables."""
    previous = read_env(folder)
    env = {
        "MLFLOW_TRACKING_URI": f"http://{HOST}:{mlflow_port}",
        "S3_ENDPOINT_URL": f"http://{HOST}:{minio_port}",
        "AWS_ACCESS_KEY_ID": previous.get("AWS_ACCESS_KEY_ID", f"local-{secrets.token_hex(6)}"),
        "AWS_SECRET_ACCESS_KEY": previous.get("AWS_SECRET_ACCESS_KEY", secrets.token_urlsafe(24)),
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for old, new in zip(_services(previous), _services(env), strict=False):
        if old.url != new.url and running_process(folder, old.name):
            raise UserError(
                f"{old.name} runs at {old.url}, not at {new.url}; stop it first (make services-stop)"
            )
    private = os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600
    with atomic_path(folder / "env") as temporary, os.fdopen(os.open(temporary, *private), "w") as file:
        file.writelines(f"export {name}={value}\n" for name, value in env.items())
    return env


def _minio_command(folder: Path, port: int) -> list[str]:
    return [store_program("minio"), "server", "--quiet", "--address", f"{HOST}:{port}", str(folder / "minio")]


def store_program(name: str) -> str:
    """Return the path of the server of an object store, which is built once.

    Args:
        name: `minio` or `seaweedfs`.

    Raises:
        UserError: if it cannot be built.
    """
    variable = f"{name.upper()}_BIN"
    script = Path(__file__).parents[3] / "docker" / "store.sh"
    if not script.is_file():
        binary = os.environ.get(variable) or shutil.which(name)
        if not binary:
            raise UserError(
                f"no server {name} found; set {variable} to one, or run from a clone of the repository"
            )
        return binary
    command = ["sh", str(script), name, sys.executable, str(cache_folder())]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        raise UserError(f"{name} is missing and could not be built; set {variable} to the server's program")
    return result.stdout.strip()


def _minio_env(env: Mapping[str, str]) -> dict[str, str]:
    user, password = env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]
    return {
        "MINIO_ROOT_USER": user,
        "MINIO_ROOT_PASSWORD": password,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }


def _mlflow_command(folder: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        "--serve-artifacts",
    ]


def _mlflow_env(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the MLflow server, which must not inherit the tracking URI of its clients."""
    return {
        **{name: value for name, value in env.items() if name.startswith("AWS_")},
        "MLFLOW_ARTIFACTS_DESTINATION": "s3://mlflow",
        "MLFLOW_S3_ENDPOINT_URL": env["S3_ENDPOINT_URL"],
        "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_TRACKING_URI": "",
        "NO_PROXY": no_proxy(),
        "no_proxy": no_proxy(),
    }


@contextmanager
def _environment_set(env: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
