"""The server needs only the packages of its image: none of TensorFlow, MLflow and the compilers."""

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.engines import write_engine

ROOT = Path(__file__).parents[3]
TOKEN = "0123456789abcdef" * 2

# The program `tinyunet`, for which the packages that the image does not have are not installed.
PROGRAM = """
import importlib.abc, sys
from importlib.metadata import packages_distributions

class Absent(importlib.abc.MetaPathFinder):
    absent = {
        module for module, packages in packages_distributions().items()
        if not any(package.lower().replace("_", "-").replace(".", "-") in KEPT for package in packages)
    }
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in self.absent or name in DELETED or ".tests" in name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from tinyunet.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def packages() -> set[str]:
    """Return the packages of the image, from docker/serving.lock, and this one."""
    lock = (ROOT / "docker/serving.lock").read_text()
    return set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE)) | {"tinyunet"}


def deleted() -> list[str]:
    """Return the modules that the Dockerfile deletes from packages."""
    (names,) = re.findall(r'^ARG UNUSED_SCIPY="(.+)"', (ROOT / "docker/Dockerfile").read_text(), re.MULTILINE)
    return [f"scipy.{name}" for name in names.split()]


def test_the_image_has_no_package_that_trains_tracks_or_compiles() -> None:
    unwanted = {
        "tensorflow",
        "tensorflow-cpu",
        "keras",
        "mlflow",
        "mlflow-skinny",
        "kfp",
        "sqlalchemy",
        "onnx",
    }
    assert packages() & (unwanted | {"grpcio-tools", "setuptools", "matplotlib", "scikit-learn"}) == set()
    assert {"kserve", "openvino", "numpy", "scipy", "pillow"} <= packages()


def test_its_versions_are_those_of_the_project() -> None:
    served, ours = (
        set(re.findall(r"^[a-z0-9-]+==\S+", (ROOT / file).read_text(), re.MULTILINE))
        for file in ("docker/serving.lock", "requirements.lock")
    )
    assert served - ours == set()


def test_the_server_starts_answers_and_ends_with_only_the_packages_of_its_image(tmp_path: Path) -> None:
    engine = write_engine(tmp_path / "engine")
    code = PROGRAM.replace("KEPT", repr(sorted(packages()))).replace("DELETED", repr(deleted()))
    (tmp_path / "token").write_text(TOKEN)
    options = ["--port", "0", "--grpc-port", free_port(), "--token-file", "token", "--open-metrics"]
    command = [sys.executable, "-c", code, "serve", str(engine), *options]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "components")}
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        line = process.stdout.readline()
        assert line.startswith("http://"), process.stderr.read()
        address = line.split()[0]
        assert ask(f"{address}/v2/health/ready")["ready"] is True
        answer = ask(f"{address}/inspect", picture(tmp_path))
        with urllib.request.urlopen(f"{address}/metrics", timeout=20) as response:
            metrics = response.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, process.stderr.read()
    assert answer["defective"] is False
    assert 'tinyunet_verdicts_total{verdict="clean"} 1.0' in metrics


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def picture(folder: Path) -> bytes:
    from PIL import Image

    Image.new("L", (40, 32), 100).save(folder / "photo.png")
    return (folder / "photo.png").read_bytes()


def ask(address: str, body: bytes | None = None) -> Any:
    headers = {"Content-Type": "image/png", "Authorization": f"Bearer {TOKEN}"} if body else {}
    with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=20) as response:
        return json.load(response)
