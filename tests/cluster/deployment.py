"""The scripts of k8s/, and the services of the deployment, as this machine reaches them."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, CompletedProcess, Popen, run

import pytest
from cluster import Cluster
from machine import REPOSITORY, programs
from objects import wait_until

K8S = REPOSITORY / "k8s"
NAMESPACE = "tinyunet"  # of the deployment


def deploy(cluster: Cluster, overlay: str, **settings: str) -> "CompletedProcess[str]":
    """Run k8s/deploy.sh to its end; settings are environment variables."""
    return run_script(cluster, "deploy.sh", overlay, **settings)


def run_script(cluster: Cluster, name: str, *words: str, **settings: str) -> "CompletedProcess[str]":
    """Run a script of k8s/ to its end; settings are environment variables."""
    environment = {
        "KUBECTL": str(programs() / "kubectl"),
        "KUBECONFIG": str(cluster.kubeconfig),
        "TIMEOUT": "180",
        "REGISTRY": "",
        "TAG": "",
    }
    values = os.environ | environment | settings
    return run([K8S / name, *words], env=values, capture_output=True, text=True, check=False)


@contextmanager
def forwarded(cluster: Cluster, service: str, port: int) -> Iterator[int]:
    """Forward a port of this machine to a service, and yield the port."""
    command = [programs() / "kubectl", "--kubeconfig", cluster.kubeconfig, "-n", NAMESPACE]
    words = [*command, "port-forward", f"service/{service}", f":{port}"]
    with Popen(words, stdout=PIPE, text=True) as process:
        lines: list[str] = []
        threading.Thread(target=lambda: lines.append(process.stdout.readline()), daemon=True).start()
        wait_until(f"{service} is forwarded", lambda: lines, 20)
        try:
            yield int(lines[0].split(":")[1].split()[0])
        finally:
            process.kill()


@contextmanager
def reached(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Set the variables with which this machine reaches MLflow and MinIO, and yield the environment.

    The connections to MLflow end when its pod is replaced; it accepts no other host than localhost and its
    name. MinIO has its address in the cluster, because a forwarded port did not answer any more after 150
    runs of the soak.
    """
    secret = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "secret", "tinyunet-s3", "-o", "json"))
    keys = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    minio = ("-n", NAMESPACE, "get", "service", "minio", "-o", "jsonpath={.spec.clusterIP}")
    with forwarded(cluster, "mlflow", 5000) as port, pytest.MonkeyPatch.context() as patch:
        values = keys | {
            "MLFLOW_TRACKING_URI": f"http://localhost:{port}",
            "S3_ENDPOINT_URL": f"http://{cluster.kubectl(*minio)}:9000",
        }
        for name, value in values.items():
            patch.setenv(name, value)
        yield os.environ | values
