"""Images without a registry: a Debian base by debootstrap, then Dockerfiles by buildah."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from machine import REPOSITORY, cache, run

from tinyunet.mpijob.example import EXAMPLE

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


def minio_image(binary: Path) -> Path:
    """Make MinIO's image around a program that is built already."""
    name = named("minio")

    def make(archive: Path) -> None:
        container = run("buildah", "from", "scratch").strip()
        run("buildah", "copy", "-q", container, binary, "/usr/local/bin/minio")
        run("buildah", "config", "--env", "PATH=/usr/local/bin", "--user", "1000", container)
        run("buildah", "commit", "-q", "--rm", container, name)
        run("buildah", "push", "-q", name, f"docker-archive:{archive}:{name}")

    return once(f"{binary.parent.name}.tar", make)


def postgres_image() -> Path:
    """Make a stand-in for the official PostgreSQL image: Debian's server under the same variables."""
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

    def make(archive: Path) -> None:
        debian(f"{BASE}-{digest(packages)}", packages)
        build(recipe, name, archive, REPOSITORY / "tests/cluster")

    script = (REPOSITORY / "tests/cluster/postgres.sh").read_text()
    return once(f"postgres-{digest(recipe, script)}.tar", make)


def deployment_images() -> list[Path]:
    """Make the images of the local overlay: MinIO, PostgreSQL's stand-in, MLflow."""
    minio = Path(run("sh", REPOSITORY / "docker/minio.sh", "python3", cache().parent).strip())
    return [minio_image(minio), postgres_image(), target_image("mlflow")]


def once(name: str, make: Callable[[Path], None]) -> Path:
    """Give a cached file, made at its first use."""
    target = cache() / "images" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.unlink(missing_ok=True)
        make(part)
        part.rename(target)
        _prune(target)
    return target


def _prune(made: Path) -> None:
    """Remove older archives of the same kind, `<kind>-<digest>.tar`, but for the newest two."""
    kind = made.name.rpartition("-")[0]
    alike = [one for one in made.parent.glob("*.tar") if one.name.rpartition("-")[0] == kind]
    for old in sorted(alike, key=lambda one: one.stat().st_mtime)[:-2]:
        old.unlink()


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
        _trust_what_this_machine_trusts(root)
        container = run("buildah", "from", "scratch").strip()
        run("buildah", "add", "-q", container, root, "/")
        run("buildah", "commit", "-q", "--rm", container, name)


def _trust_what_this_machine_trusts(root: Path) -> None:
    """Copy this machine's own certificate authorities, if it has any: builds then reach what it reaches."""
    own = sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))
    for file in own:
        shutil.copy(file, root / "usr/local/share/ca-certificates")
    if own:
        run("chroot", root, "update-ca-certificates")


def named(target: str) -> str:
    """Give the name under which the manifests ask for an image, as containerd writes it."""
    return f"docker.io/{EXAMPLE.image.replace('trainer-cpu', target)}"


def target_image(target: str) -> Path:
    """Build a target of docker/Dockerfile, once per content of what it is made of; give its archive."""
    used = ("docker", "components/tinyunet", "requirements.lock", "pyproject.toml")
    if target in ("mlflow", "minio"):
        used = ("docker/Dockerfile", "docker/tools.lock", "docker/mlflow.lock", "docker/minio.sh")
    files = [file for name in used for file in _files(REPOSITORY / name)]
    key = digest(*(f"{file.relative_to(REPOSITORY)}{file.read_text()}" for file in files))
    return once(f"{target}-{key}.tar", lambda archive: _build_target(target, archive))


def _files(path: Path) -> list[Path]:
    found = [path] if path.is_file() else sorted(path.rglob("*"))
    return [one for one in found if one.is_file() and "__pycache__" not in one.parts]


def _build_target(target: str, archive: Path) -> None:
    debian(BASE, "ca-certificates")
    name = named(target)
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "uv.toml")
        settings.write_text("native-tls = true\n")
        volumes = ["--volume", f"{folder}:/etc/uv:ro", "--volume", f"{cache().parent}:/opt/wheels"]
        dockerfile = REPOSITORY / "docker" / "Dockerfile"
        run("buildah", "bud", "-q", "--isolation=chroot", "--layers", *volumes, "--target", target,
            "-t", name, "-f", dockerfile, REPOSITORY)  # fmt: skip
    run("buildah", "push", "-q", name, f"docker-archive:{archive}:{name}")


def build(recipe: str, name: str, target: Path, context: Path) -> None:
    """Build a Dockerfile's text and save it as an archive."""
    with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as file:
        file.write(recipe)
        file.flush()
        run("buildah", "bud", "-q", "--isolation=chroot", "-t", name, "-f", file.name, context)
    run("buildah", "push", "-q", name, f"docker-archive:{target}:{name}")


def _build_ranks(recipe: str, target: Path) -> None:
    debian(f"{BASE}-{digest(PACKAGES)}", PACKAGES)
    build(recipe, RANKS, target, REPOSITORY)
