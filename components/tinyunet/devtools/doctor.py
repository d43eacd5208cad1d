"""Check the installed programs, the free resources, the settings and the servers, for `tinyunet doctor`."""

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tinyunet.core.console import cores
from tinyunet.core.files import cache_folder
from tinyunet.devtools.reachability import Check, credentials, store, tracking

GB = 1e9
MIN_DISK_GB, MIN_MEMORY_GB = 5.0, 3.0  # needed by a run of one class, with its records, model and report
PROBE_TIMEOUT_S = 8.0
BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # .ci/setup reads this line
LOAD_TIMEOUT_S = 120.0  # importing TensorFlow alone takes 5 s on idle cores
_REINSTALL = "install from requirements.lock"
_LOAD = """
import tensorflow as tf
from tinyunet.model.precision import resolve_precision
print(len(tf.config.list_physical_devices("GPU")), resolve_precision("auto"), flush=True)
import horovod.tensorflow as hvd
print(hvd.mpi_built(), hvd.gloo_built())
"""
KNOWN_VARIABLES = {
    "TINYUNET_ALLOW_HTTP",
    "TINYUNET_CACHE",
    "TINYUNET_COMPILE_CACHE",
    "TINYUNET_GIT_REVISION",
    "TINYUNET_IMAGE",
    "TINYUNET_LEASE_SECONDS",
    "TINYUNET_LOCAL_RUN",
    "TINYUNET_LOCK_DIGEST",
    "TINYUNET_MINIO_PORT",
    "TINYUNET_MLFLOW_PORT",
    "TINYUNET_PRIORITY",
    "TINYUNET_QUEUE",
}
Finished = subprocess.CompletedProcess[str]


def run() -> list[Check]:
    """Run all checks and return their results; the checks do not change anything."""
    loaded = _call([sys.executable, "-c", _LOAD], timeout=LOAD_TIMEOUT_S)
    checks = (mpirun, disk, memory, settings, tracking, credentials, store, kubernetes, chromium)
    return [python(), tensorflow(), devices(loaded), horovod(loaded), *(check() for check in checks)]


def python() -> Check:
    """Check the Python version."""
    current = platform.python_version()
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Check("Python", "ok", f"{current} at {sys.executable}")
    remedy = "create the virtual environment with one of these versions"
    return Check("Python", "fail", f"{current}; expected 3.11 or 3.12", remedy)


def tensorflow() -> Check:
    """Check that TensorFlow and Keras are installed, from their package metadata."""
    tf, keras = _version("tensorflow") or _version("tensorflow-cpu"), _version("keras")
    if not tf or not keras:
        missing = "TensorFlow" if not tf else "Keras"
        return Check("TensorFlow", "fail", f"{missing} is not installed", _REINSTALL)
    return Check("TensorFlow", "ok", f"{tf}, Keras {keras}")


def devices(loaded: "Finished | None") -> Check:
    """Report the GPUs and the precision that `auto` selects, from a process that loaded TensorFlow."""
    lines = loaded.stdout.splitlines() if loaded else []
    if not lines:
        return Check("devices", "fail", f"TensorFlow does not load: {_last_line(loaded)}", _REINSTALL)
    gpus, precision = lines[0].split()
    return Check("devices", "ok", f"{gpus} GPUs, {cores()} CPU cores; precision=auto is {precision}")


def horovod(loaded: "Finished | None") -> Check:
    """Report how Horovod was built, from a process that loaded it."""
    installed, lines = _version("horovod"), loaded.stdout.splitlines() if loaded else []
    remedy = "build it for this TensorFlow (docker/horovod.sh)"
    if not installed:
        return Check("Horovod", "warn", "not installed: training runs on one rank", remedy)
    if len(lines) < 2:
        return Check("Horovod", "warn", f"{installed} does not load: {_last_line(loaded)}", remedy)
    mpi, gloo = (word == "True" for word in lines[1].split())
    if not mpi:
        return Check("Horovod", "warn", f"{installed} has no MPI", remedy)
    return Check("Horovod", "ok", f"{installed}, built with MPI{' and Gloo' if gloo else ''}")


def mpirun() -> Check:
    """Check that mpirun is installed."""
    path = shutil.which("mpirun")
    if not path:
        remedy = "install Open MPI (Debian: apt-get install openmpi-bin)"
        return Check("mpirun", "warn", "not found; only several ranks on this machine need it", remedy)
    result = _call([path, "--version"])
    return Check("mpirun", "ok", result.stdout.splitlines()[0] if result and result.stdout else path)


def disk() -> Check:
    """Check the free space of the working directory and of the cache folder."""
    cache = cache_folder()
    folders = [Path.cwd(), next(p for p in (cache, *cache.absolute().parents) if p.exists())]
    free = {path: shutil.disk_usage(path).free / GB for path in folders}
    folder = min(free, key=lambda path: free[path])
    detail = f"{free[folder]:.0f} GB free at {folder}"
    if free[folder] < MIN_DISK_GB:
        return Check("disk", "warn", detail, f"free {MIN_DISK_GB:.0f} GB there")
    return Check("disk", "ok", detail)


def memory() -> Check:
    """Check the available memory."""
    import psutil

    free = psutil.virtual_memory().available / GB
    if free < MIN_MEMORY_GB:
        remedy = "stop other programs, or use a smaller image_size or global_batch"
        return Check("memory", "warn", f"{free:.1f} GB available, {MIN_MEMORY_GB:.0f} GB needed", remedy)
    return Check("memory", "ok", f"{free:.1f} GB available")


def settings() -> Check:
    """Check for TINYUNET_… variables that no program reads; their names are probably misspelt."""
    present = {name for name in os.environ if name.startswith("TINYUNET_")}
    if unknown := sorted(present - KNOWN_VARIABLES):
        remedy = f"unset or correct them; known: {', '.join(sorted(KNOWN_VARIABLES))}"
        return Check("settings", "warn", f"unknown variables {', '.join(unknown)}", remedy)
    return Check("settings", "ok", "no unknown TINYUNET_… variable")


def kubernetes() -> Check:
    """Check that kubectl can reach a cluster, if kubectl is installed; a cluster is optional."""
    if not shutil.which("kubectl"):
        return Check("Kubernetes", "ok", "kubectl is not installed; only commands for a cluster need it")
    result = _call(["kubectl", "version", "--request-timeout=5s"])
    if result is None or result.returncode:
        detail = f"kubectl is installed, but no cluster answers: {_last_line(result)}"
        return Check("Kubernetes", "warn", detail, "check KUBECONFIG; only commands for a cluster need it")
    return Check("Kubernetes", "ok", result.stdout.strip().splitlines()[-1])


def chromium() -> Check:
    """Check that Chromium or Chrome is installed; only the browser tests need it."""
    if path := browser():
        return Check("Chromium", "ok", f"{path} (browser tests)")
    return Check("Chromium", "warn", "not found; only the browser tests need it", "apt-get install chromium")


def browser() -> str | None:
    """Return the path of Chromium or Chrome; None if neither is installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _call(command: list[str], timeout: float = PROBE_TIMEOUT_S) -> "Finished | None":
    """Run a program; return None if it does not start or does not end within the timeout."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _last_line(result: "Finished | None") -> str:
    lines = (result.stderr if result else "").strip().splitlines()
    return lines[-1][:200] if lines else "no answer in time"
