"""Images without a registry: debootstrap makes a Debian base image, and buildah builds Dockerfiles on it."""

import functools
import hashlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from cluster import Cluster
from machine import ENVIRONMENT, PYTHON, REPOSITORY, cache, run

from tinyunet.mpijob.example import EXAMPLE

BASE = "docker.io/library/debian:bookworm-slim"
RANKS = "localhost/tinyunet-ranks:1"
PACKAGES = "ca-certificates,libgomp1,libopenmpi3,libstdc++6,openmpi-bin,openssh-client,openssh-server,python3"
BACKGROUND = ("nice", "-n", "19")  # the tests that run meanwhile come first
_building = threading.Lock()
_ahead = ThreadPoolExecutor(1)


def ranks_image() -> Path:
    """Build the image of the tests' MPI pods, and return its archive.

    The image contains sshd and Open MPI. The Python environment of the host is mounted into the pods.
    """
    recipe = f"""\
FROM {BASE}-{digest(PACKAGES)}
RUN useradd --uid 1000 --create-home mpiuser && chmod 755 /root
RUN mkdir -p {PYTHON} {ENVIRONMENT} {REPOSITORY}
COPY docker/sshd_mpi_config /etc/ssh/sshd_mpi_config
COPY docker/ssh_mpi_config /etc/ssh/ssh_config.d/mpi.conf
ENV PATH={ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin
USER 1000
WORKDIR /home/mpiuser
"""
    files = [REPOSITORY / "docker" / name for name in ("sshd_mpi_config", "ssh_mpi_config")]
    key = digest(recipe, PACKAGES, *(file.read_text() for file in files))
    return cached(f"ranks-{key}.tar", lambda target: _build_ranks(recipe, target))


def store_image(target: str, program: str) -> Path:
    """Build the image of an object store from its program, and return its archive.

    Args:
        target: `minio` or `seaweedfs`.
        program: Name of the program in the image.
    """
    binary = Path(run("sh", REPOSITORY / "docker/store.sh", target, "python3", cache().parent).strip())
    name = named(target)

    def build_store(archive: Path) -> None:
        container = run("buildah", "from", "scratch").strip()
        run("buildah", "copy", "-q", container, binary, f"/usr/local/bin/{program}")
        run("buildah", "config", "--env", "PATH=/usr/local/bin", "--user", "1000", container)
        run("buildah", "commit", "-q", "--rm", container, name)
        run("buildah", "push", "-q", name, f"docker-archive:{archive}:{name}")

    return cached(f"{binary.parent.name}.tar", build_store)


def postgres_image() -> Path:
    """Build a replacement for the official PostgreSQL image: Debian's server with the same variables."""
    packages = "ca-certificates,libpq5,postgresql"
    name = "docker.io/library/postgres:17-bookworm"
    recipe = f"""\
FROM {BASE}-{digest(packages)}
RUN userdel postgres; useradd --uid 999 postgres
ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin
COPY postgres.sh /usr/bin/postgres.sh
USER 999
CMD ["sh", "/usr/bin/postgres.sh"]
"""

    def build_postgres(archive: Path) -> None:
        debian(f"{BASE}-{digest(packages)}", packages)
        build(recipe, name, archive, REPOSITORY / "tests/cluster")

    script = (REPOSITORY / "tests/cluster/postgres.sh").read_text()
    return cached(f"postgres-{digest(recipe, script)}.tar", build_postgres)


def deployment_images(store: str = "minio", program: str = "minio") -> list[Path]:
    """Build the images of the local overlay (store, PostgreSQL, MLflow), and return their archives."""
    return [store_image(store, program), postgres_image(), target_image("mlflow")]


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return a file of the cache; make it if it does not exist."""
    target = cache() / "images" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".part")
        temporary.unlink(missing_ok=True)
        make(temporary)
        temporary.rename(target)
        _prune(target)
    return target


def _prune(archive: Path) -> None:
    """Remove archives of the same kind, `<kind>-<digest>.tar`, except the two newest ones."""
    kind = archive.name.rpartition("-")[0]
    same_kind = [path for path in archive.parent.glob("*.tar") if path.name.rpartition("-")[0] == kind]
    for old in sorted(same_kind, key=lambda path: path.stat().st_mtime)[:-2]:
        old.unlink()


def digest(*texts: str) -> str:
    """Return the first 12 hex digits of the SHA-256 of the texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def debian(name: str, packages: str, *, variant: str = "minbase") -> None:
    """Make a Debian image from this machine's mirror, under the name that Dockerfiles use."""
    if not subprocess.run(["buildah", "inspect", "--type=image", name], capture_output=True).returncode:
        return
    sites = run("apt-get", "indextargets", "--format", "$(SITE)").split()
    mirror = next(site for site in sites if "security" not in site)
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        root = Path(folder, "root")
        run("debootstrap", f"--variant={variant}", f"--include={packages}", "bookworm", root, mirror)
        for unused in (
            "var/cache/apt/archives",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
        ):
            shutil.rmtree(root / unused, ignore_errors=True)
        _add_local_certificates(root)
        container = run("buildah", "from", "scratch").strip()
        run("buildah", "add", "-q", container, root, "/")
        run("buildah", "commit", "-q", "--rm", container, name)


def _add_local_certificates(root: Path) -> None:
    """Copy the certificate authorities that were added to this machine: builds then trust the same hosts."""
    certificates = sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))
    for file in certificates:
        shutil.copy(file, root / "usr/local/share/ca-certificates")
    if certificates:
        run("chroot", root, "update-ca-certificates")


def named(target: str) -> str:
    """Return the name of an image in the manifests, as containerd writes it."""
    return f"docker.io/{EXAMPLE.image.replace('trainer-cpu', target)}"


def target_image(target: str) -> Path:
    """Build a target of docker/Dockerfile, unless its sources are unchanged, and return its archive."""
    used = ("docker", "components/tinyunet", "requirements.lock", "pyproject.toml")
    if target in ("mlflow", "minio"):
        used = ("docker/Dockerfile", "docker/tools.lock", "docker/mlflow.lock", "docker/store.sh")
    elif target == "serving":
        used = (
            "docker/Dockerfile",
            "docker/tools.lock",
            "docker/serving.lock",
            "docker/trim.sh",
            "components/tinyunet",
            "pyproject.toml",
        )
    files = [file for name in used for file in _files(REPOSITORY / name)]
    key = digest(*(f"{file.relative_to(REPOSITORY)}{file.read_text()}" for file in files))
    return cached(f"{target}-{key}.tar", lambda archive: _build_target(target, archive))


@functools.cache
def loading(cluster: Cluster, target: str) -> "Future[Path]":
    """Start to build a target of docker/Dockerfile and to load it; several are built one after another.

    Returns:
        The archive, once the node has loaded it. A test waits for it, and others run meanwhile.
    """

    def load() -> Path:
        archive = target_image(target)
        cluster.load(archive)
        return archive

    return _ahead.submit(load)


def stop_loading() -> None:
    """Wait for the image that is being built, and build no further one."""
    _ahead.shutdown(cancel_futures=True)


def _files(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return [file for file in files if file.is_file() and "__pycache__" not in file.parts]


def _build_target(target: str, archive: Path) -> None:
    name = named(target)
    with _building, tempfile.TemporaryDirectory() as folder:
        debian(BASE, "ca-certificates")
        settings = Path(folder, "uv.toml")
        settings.write_text("native-tls = true\n")
        volumes = ["--volume", f"{folder}:/etc/uv:ro", "--volume", f"{cache().parent}:/opt/wheels"]
        dockerfile = REPOSITORY / "docker" / "Dockerfile"
        run(*BACKGROUND, "buildah", "bud", "-q", "--isolation=chroot", "--layers", *volumes, "--target",
            target, *_build_arguments(), "-t", name, "-f", dockerfile, REPOSITORY)  # fmt: skip
    run(*BACKGROUND, "buildah", "push", "-q", name, f"docker-archive:{archive}:{name}")


def _build_arguments() -> list[str]:
    """Return the build arguments of docker/images.sh; models are registered with the image's revision."""
    describe = ("git", "-C", REPOSITORY, "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*")
    lock = hashlib.sha256((REPOSITORY / "requirements.lock").read_bytes()).hexdigest()[:12]
    values = {"REVISION": run(*describe).strip(), "LOCK": lock}
    return [word for name, value in values.items() for word in ("--build-arg", f"{name}={value}")]


def build(recipe: str, name: str, target: Path, context: Path) -> None:
    """Build the image of a Dockerfile's text, and save it as an archive."""
    with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as file:
        file.write(recipe)
        file.flush()
        run("buildah", "bud", "-q", "--isolation=chroot", "-t", name, "-f", file.name, context)
    run("buildah", "push", "-q", name, f"docker-archive:{target}:{name}")


def _build_ranks(recipe: str, target: Path) -> None:
    debian(f"{BASE}-{digest(PACKAGES)}", PACKAGES)
    build(recipe, RANKS, target, REPOSITORY)
