"""`make deploy` on a real cluster: every overlay is accepted, the local one is healthy and used from inside."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest
from boot import Cluster
from conftest import Shell, until
from images import RANKS, minio_image, postgres_image, target_image
from machine import REPOSITORY, programs, run

from tinyunet.errors import UserError
from tinyunet.runtime.mpijob import run_mpijob

K8S = REPOSITORY / "k8s"
NAMESPACE = "tinyunet"
LAUNCHER = "system:serviceaccount:tinyunet:tinyunet-launcher"


def deploy(cluster: Cluster, overlay: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"KUBECTL": str(programs() / "kubectl"), "KUBECONFIG": str(cluster.kubeconfig)}
    words = [K8S / "deploy.sh", overlay]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def services(cluster: Cluster) -> Iterator[Cluster]:
    binary = run("sh", REPOSITORY / "docker/minio.sh", "python3", cluster_cache())
    for archive in (minio_image(binary), postgres_image(), target_image("mlflow")):
        cluster.load(archive)
    done = deploy(cluster, "local")
    assert done.returncode == 0, done.stdout + done.stderr + cluster.kubectl("-n", NAMESPACE, "get", "pods")
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=true", "--timeout=120s")


@pytest.mark.parametrize("overlay", ["local", "gpu", "production"])
def test_the_api_server_accepts_every_object_of_an_overlay(
    cluster: Cluster, namespace: str, overlay: str
) -> None:
    text = cluster.kubectl("kustomize", K8S / "overlays" / overlay)
    text = text.replace(f"namespace: {NAMESPACE}", f"namespace: {namespace}")
    said = cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
    assert f"{NAMESPACE} created (server dry run)" in said or f"{NAMESPACE} configured" in said
    assert "Warning" not in said


def test_secrets_are_random_and_stand_in_no_manifest(cluster: Cluster) -> None:
    for overlay in ("local", "gpu", "production"):
        assert "kind: Secret" not in cluster.kubectl("kustomize", K8S / "overlays" / overlay)


def test_production_asks_for_its_secrets_before_it_changes_anything(cluster: Cluster) -> None:
    done = deploy(cluster, "production")
    assert done.returncode == 2
    assert "secret tinyunet/tinyunet-s3 is missing; make it" in done.stderr


def test_deploying_twice_changes_nothing(services: Cluster) -> None:
    done = deploy(services, "local")
    assert done.returncode == 0, done.stderr
    changed = [line for line in done.stdout.splitlines() if line.endswith(("created", "configured"))]
    assert changed == []
