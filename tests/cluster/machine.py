"""Requirements of a machine that hosts the cluster, and functions that run programs on it."""

import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tinyunet.core.files import cache_folder

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
PYTHON = Path(sys.base_prefix)
ENVIRONMENT = Path(sys.prefix)  # the virtual environment of PYTHON
PROGRAMS = HERE / "programs" / "build.sh"
APT = ("apt-get", "-o", "DPkg::Lock::Timeout=600")  # seconds that it waits for another apt-get
DEBIAN = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "skopeo": "skopeo",
    "debootstrap": "debootstrap",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "ip": "iproute2",
    "conntrack": "conntrack",
    "openssl": "openssl",
}


class CannotHost(Exception):  # noqa: N818
    """This machine cannot run the cluster; the message names what is missing."""


def cache() -> Path:
    """Return the folder of programs and images that are built once."""
    return cache_folder() / "cluster"


def run(*command: object, **options: Any) -> str:
    """Run a program to its end and return its output.

    Raises:
        RuntimeError: if it fails; the message contains the end of its output.
    """
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if result.returncode:
        output = (result.stderr or result.stdout).strip()[-2000:]
        raise RuntimeError(f"{' '.join(map(str, command))[:200]} exited {result.returncode}: {output}")
    return result.stdout


def require() -> None:
    """Install missing Debian packages, and check the other requirements of a cluster.

    Raises:
        CannotHost: if a requirement is not met.
    """
    if os.geteuid():
        raise CannotHost("a cluster of real containers needs root; run as root, or in a virtual machine")
    programs = [package for program, package in DEBIAN.items() if not shutil.which(program)]
    if not Path("/usr/lib/cni/bridge").exists():
        programs.append("containernetworking-plugins")
    if programs:
        _install(programs)
    if not Path("/sys/fs/cgroup").is_mount() or not os.access("/sys/fs/cgroup", os.W_OK):
        raise CannotHost("/sys/fs/cgroup is not writable; the kubelet cannot create containers")
    if not shutil.which("go"):
        raise CannotHost("go is not installed (1.26 or newer); Kubernetes is built from its pinned modules")


@functools.cache
def programs(*modules: Path) -> Path:
    """Build the cluster's programs, or those of other modules, unless cached, and return their folder."""
    result = subprocess.run([PROGRAMS, cache(), *modules], stdout=subprocess.PIPE, text=True)
    if result.returncode:
        raise CannotHost("the cluster's programs could not be built; see the messages above")
    return Path(result.stdout.strip())


def command_line(pid: int) -> bytes:
    """Return the command of a process; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def wait_for_end(pid: int, seconds: float = 10) -> None:
    """Wait until a process has ended, but not longer."""
    deadline = time.monotonic() + seconds
    while command_line(pid) and time.monotonic() < deadline:
        time.sleep(0.02)


def _install(packages: list[str]) -> None:
    if not shutil.which("apt-get"):
        raise CannotHost(f"not installed: {', '.join(packages)} (names of Debian's packages)")
    try:
        run(*APT, "update", "-q")
        run(*APT, "install", "-y", "-q", "--no-install-recommends", *packages)
    except RuntimeError as error:
        raise CannotHost(f"apt-get cannot install {', '.join(packages)}: {error}") from error
