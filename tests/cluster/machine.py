"""What the machine must have to host a real cluster, and running programs on it."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tinyunet.core.files import cache_folder

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
PROGRAMS = HERE / "programs" / "build.sh"
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
    """This machine cannot run the cluster; the message says what is missing."""


def cache() -> Path:
    """Give the folder of what is built once."""
    return cache_folder() / "cluster"


def run(*command: object, **options: Any) -> str:
    """Run a program to its end and give what it printed; a failure carries its words."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode:
        words = (done.stderr or done.stdout).strip()[-2000:]
        raise RuntimeError(f"{' '.join(map(str, command))[:200]} exited {done.returncode}: {words}")
    return done.stdout


def require() -> None:
    """Install what Debian has and is missing; say what else keeps a cluster from running here.

    Raises:
        CannotHost: with everything that is missing.
    """
    if os.geteuid():
        raise CannotHost("a cluster of real containers needs root; run as root, or in a virtual machine")
    programs = [package for program, package in DEBIAN.items() if not shutil.which(program)]
    if not Path("/usr/lib/cni/bridge").exists():
        programs.append("containernetworking-plugins")
    if programs:
        _install(programs)
    if not Path("/sys/fs/cgroup").is_mount() or not os.access("/sys/fs/cgroup", os.W_OK):
        raise CannotHost("/sys/fs/cgroup is not writable; the kubelet cannot make containers here")
    if not shutil.which("go"):
        raise CannotHost("go is not installed (1.26 or newer); Kubernetes is built from its pinned modules")


def programs() -> Path:
    """Build, or find, the cluster's own programs; give their folder."""
    done = subprocess.run([PROGRAMS, cache()], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise CannotHost("the cluster's programs do not build; the messages above tell why")
    return Path(done.stdout.strip())


def _install(packages: list[str]) -> None:
    if not shutil.which("apt-get"):
        raise CannotHost(f"not installed: {', '.join(packages)} (names of Debian's packages)")
    try:
        run("apt-get", "update", "-q")
        run("apt-get", "install", "-y", "-q", "--no-install-recommends", *packages)
    except RuntimeError as error:
        raise CannotHost(f"apt-get cannot install {', '.join(packages)}: {error}") from error
