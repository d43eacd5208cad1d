"""The scripts of k8s/, and the services of the deployment, as this machine reaches them."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CompletedProcess, run

import pytest
from cluster import Cluster
from machine import REPOSITORY, programs

from tests.servers import front

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
    """Forward a port of this machine to a service, and yield the port.

    MLflow accepts requests to localhost, not to its address in the cluster. `kubectl port-forward` ends with
    the pod, and did not answer any more after 150 runs of the soak.
    """
    address = cluster.kubectl("-n", NAMESPACE, "get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
    with front(f"http://{address}:{port}") as local:
        yield local


@contextmanager
def reached(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Set the variables with which this machine reaches MLflow and MinIO, and yield the environment."""
    secret = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "secret", "tinyunet-s3", "-o", "json"))
    keys = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    with (
        forwarded(cluster, "mlflow", 5000) as mlflow,
        forwarded(cluster, "minio", 9000) as minio,
        pytest.MonkeyPatch.context() as patch,
    ):
        values = keys | {
            "MLFLOW_TRACKING_URI": f"http://localhost:{mlflow}",
            "S3_ENDPOINT_URL": f"http://localhost:{minio}",
        }
        for name, value in values.items():
            patch.setenv(name, value)
        yield os.environ | values
