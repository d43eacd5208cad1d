"""The real trainer image: k8s/mpijob.yaml as it stands runs on it, and nothing unwanted is in it."""

import json
import re
import tarfile
import time
from pathlib import Path

import pytest
from boot import Cluster
from conftest import items, nothing_runs, until
from images import target_image
from machine import REPOSITORY, run

MANIFEST = REPOSITORY / "k8s" / "mpijob.yaml"
UNWANTED = re.compile(
    r"(^|/)(\.git|\.env|id_(rsa|ed25519|ecdsa)|ssh_host_\w+_key|\.pypirc|\.netrc|pip\.conf)(/|$)"
    r"|\.(tfrecord|keras|PNG)$|^(root|tmp)/.*cache"
    r"|^var/lib/apt/lists/.|^var/cache/apt/archives/.*\.deb$|^(src|opt/tools)/"
)
FOREIGN = re.compile(r"/(matplotlib|mlflow|sklearn|keras|tensorflow|werkzeug|rich|PIL|tensorboard)[^/]*/")


@pytest.fixture(scope="module")
def archive(cluster: Cluster) -> Path:
    """The image, loaded."""
    made = target_image("trainer-cpu")
    cluster.load(made)
    return made


def identity(cluster: Cluster, namespace: str) -> list[tuple[str, int]]:
    metas = [one["metadata"] for one in items(cluster, "mpijobs", namespace)]
    return [(one["uid"], one["generation"]) for one in metas]


def test_the_manifest_as_it_stands_trains_to_success(cluster: Cluster, archive: Path, namespace: str) -> None:
    began = time.monotonic()
    apply = ("-n", namespace, "apply", "-f", MANIFEST)
    assert "created" in cluster.kubectl(*apply)
    first = identity(cluster, namespace)
    cluster.kubectl(*apply)
    assert identity(cluster, namespace) == first

    def log() -> str:
        try:
            return cluster.kubectl("-n", namespace, "logs", "job/tinyunet-launcher")
        except RuntimeError:  # no pod yet
            return ""

    until("the first training step", lambda: "step 1/" in log(), 180)
    print(f"{time.monotonic() - began:.1f} s from apply to the first step")
    wait = ("wait", "--for=condition=Succeeded", "mpijob/tinyunet", "--timeout=300s")
    cluster.kubectl("-n", namespace, *wait)
    print(cluster.kubectl("-n", namespace, "get", "mpijob,pods"), log(), sep="\n")
    assert "2 rank(s)" in log()
    assert "mixed_bfloat16" in log()
    cluster.kubectl(*apply)
    assert identity(cluster, namespace) == first
    until("workers are released", lambda: nothing_runs(cluster, namespace))


def test_no_layer_holds_a_secret_a_cache_or_data(archive: Path) -> None:
    found: list[str] = []
    with tarfile.open(archive) as image:
        for member in image:
            if member.isfile() and member.name.endswith(".tar"):
                with tarfile.open(fileobj=image.extractfile(member)) as layer:
                    found += [name for name in layer.getnames() if UNWANTED.search(name)]
    assert [name for name in found if not FOREIGN.search(name)] == []


def test_the_image_is_not_root_and_says_what_it_is(archive: Path) -> None:
    config = json.loads(run("skopeo", "inspect", "--config", f"docker-archive:{archive}"))["config"]
    assert config["User"] == "1000"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    assert not [one for one in config["Env"] if re.search(r"(?i)(password|secret|token|index_url)", one)]
