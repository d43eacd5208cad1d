"""Images without a registry: a Debian base by debootstrap, then Dockerfiles by buildah."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from machine import REPOSITORY, cache, run

BASE = "docker.io/library/debian:bookworm-slim"
RANKS = "localhost/tinyunet-ranks:1"
PACKAGES = "ca-certificates,libgomp1,libopenmpi3,libstdc++6,openmpi-bin,openssh-client,openssh-server,python3"


def ranks_image(python: Path, environment: Path) -> Path:
    """Make the image of the tests' MPI pods: sshd and Open MPI; Python's environment is mounted into it.

    Args:
        python: Root of the host's Python.
        environment: Root of the host's virtual environment.
    """
    recipe = f"""\
FROM {BASE}-{digest(PACKAGES)}
RUN useradd --uid 1000 --create-home mpiuser && chmod 755 /root
RUN mkdir -p {python} {environment} {REPOSITORY}
COPY docker/sshd_mpi_config /etc/ssh/sshd_mpi_config
COPY docker/ssh_mpi_config /etc/ssh/ssh_config.d/mpi.conf
ENV PATH={environment}/bin:/usr/local/bin:/usr/bin:/bin
USER 1000
WORKDIR /home/mpiuser
"""
    files = [REPOSITORY / "docker" / name for name in ("sshd_mpi_config", "ssh_mpi_config")]
    key = digest(recipe, PACKAGES, *(one.read_text() for one in files))
    return once(f"ranks-{key}.tar", lambda target: _build_ranks(recipe, target))


def once(name: str, make: Callable[[Path], None]) -> Path:
    """Give a cached file, made at its first use."""
    target = cache() / "images" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.unlink(missing_ok=True)
        make(part)
        part.rename(target)
    return target


def digest(*texts: str) -> str:
    """Give 12 hex digits of the texts' SHA-256."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def debian(name: str, packages: str, *, variant: str = "minbase") -> None:
    """Make a Debian image under the name that Dockerfiles ask for, from this machine's mirror."""
    if not subprocess.run(["buildah", "inspect", "--type=image", name], capture_output=True).returncode:
        return
    mirror = next(
        one for one in run("apt-get", "indextargets", "--format", "$(SITE)").split() if "security" not in one
    )
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        root = Path(folder, "root")
        run("debootstrap", f"--variant={variant}", f"--include={packages}", "bookworm", root, mirror)
        for waste in (
            "var/cache/apt/archives",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
        ):
            shutil.rmtree(root / waste, ignore_errors=True)
        container = run("buildah", "from", "scratch").strip()
        run("buildah", "add", "-q", container, root, "/")
        run("buildah", "commit", "-q", "--rm", container, name)


def build(recipe: str, name: str, target: Path) -> None:
    """Build a Dockerfile's text with the repository as context, and save it as an archive."""
    with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as file:
        file.write(recipe)
        file.flush()
        run("buildah", "bud", "-q", "--isolation=chroot", "-t", name, "-f", file.name, REPOSITORY)
    run("buildah", "push", "-q", name, f"docker-archive:{target}:{name}")


def _build_ranks(recipe: str, target: Path) -> None:
    debian(f"{BASE}-{digest(PACKAGES)}", PACKAGES)
    build(recipe, RANKS, target)
