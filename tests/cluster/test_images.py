"""The real trainer image: it runs the unchanged k8s/mpijob.yaml, and contains no unwanted files."""

import json
import re
import tarfile
import time
from pathlib import Path

import pytest
from cluster import Cluster
from machine import REPOSITORY, run
from objects import list_objects, nothing_runs, wait_until

MANIFEST = REPOSITORY / "k8s" / "mpijob.yaml"
UNWANTED = re.compile(
    r"(^|/)(\.git|\.env|id_(rsa|ed25519|ecdsa)|ssh_host_\w+_key|\.pypirc|\.netrc|pip\.conf)(/|$)"
    r"|\.(tfrecord|keras|PNG)$|^(root|tmp)/.*cache"
    r"|^var/lib/apt/lists/.|^var/cache/apt/archives/.*\.deb$|^(src|opt/tools)/"
)
FOREIGN = re.compile(r"/(matplotlib|mlflow|sklearn|keras|tensorflow|werkzeug|rich|PIL|tensorboard)[^/]*/")


def identity(cluster: Cluster, namespace: str) -> list[tuple[str, int]]:
    metas = [job["metadata"] for job in list_objects(cluster, "mpijobs", namespace)]
    return [(meta["uid"], meta["generation"]) for meta in metas]


@pytest.mark.usefixtures("trainer_image")
def test_the_unchanged_manifest_trains_to_success(cluster: Cluster, namespace: str) -> None:
    start = time.monotonic()
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

    wait_until("the first training step", lambda: "step 1/" in log(), 180)
    print(f"{time.monotonic() - start:.1f} s from apply to the first step")
    wait = ("wait", "--for=condition=Succeeded", "mpijob/tinyunet", "--timeout=300s")
    cluster.kubectl("-n", namespace, *wait)
    print(cluster.kubectl("-n", namespace, "get", "mpijob,pods"), log(), sep="\n")
    assert "2 rank(s)" in log()
    assert "mixed_bfloat16" in log()
    assert "step 20/20" in log()
    assert list_objects(cluster, "mpijobs", namespace)[0]["status"]["completionTime"]
    cluster.kubectl(*apply)
    assert identity(cluster, namespace) == first
    wait_until("workers are released", lambda: nothing_runs(cluster, namespace))


def test_no_layer_contains_secrets_caches_or_data(trainer_image: Path) -> None:
    unwanted: list[str] = []
    with tarfile.open(trainer_image) as image:
        for member in image:
            if member.isfile() and member.name.endswith(".tar"):
                with tarfile.open(fileobj=image.extractfile(member)) as layer:
                    unwanted += [name for name in layer.getnames() if UNWANTED.search(name)]
    assert [name for name in unwanted if not FOREIGN.search(name)] == []


def test_the_image_has_a_user_other_than_root_and_labels(trainer_image: Path) -> None:
    config = json.loads(run("skopeo", "inspect", "--config", f"docker-archive:{trainer_image}"))["config"]
    assert config["User"] == "1000"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
    assert not [v for v in config["Env"] if re.search(r"(?i)(password|secret|token|index_url)", v)]
