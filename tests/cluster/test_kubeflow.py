"""What `make connect` writes into Kubeflow's namespace, and that a pod reaches MLflow and the store by it."""

import base64
from collections.abc import Iterator

import pytest
from boot import Cluster
from conftest import NAMESPACE, items, python_pod, script

KINDS = "configmaps,secrets,roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io"
MINIO = "http://minio.tinyunet.svc.cluster.local:9000"
REACH = """
from tinyunet.devtools.reachability import credentials, store, tracking
print(*(check() for check in (tracking, credentials, store)), sep="\\n")
"""


@pytest.fixture
def kubeflow(services: Cluster) -> Iterator[str]:
    """The namespace `kubeflow` as Kubeflow Pipelines has it; its store is our MinIO under another name."""
    (ours,) = (
        one for one in items(services, "secrets", NAMESPACE) if one["metadata"]["name"] == "tinyunet-s3"
    )
    keys = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
    place = {"namespace": "kubeflow"}
    services.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeflow"}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": place | {"name": "mlpipeline-minio-artifact"},
            "data": {name: ours["data"][key] for name, key in keys.items()},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": place | {"name": "minio-service"},
            "spec": {"type": "ExternalName", "externalName": "minio.tinyunet.svc.cluster.local"},
        },
    )
    yield "kubeflow"
    services.kubectl("delete", "namespace", "kubeflow")


def written(cluster: Cluster, namespace: str) -> dict[str, tuple[str, dict]]:
    """What is there: resourceVersion and data by name."""
    found = items(cluster, KINDS, namespace)
    return {
        f"{one['kind']}/{one['metadata']['name']}": (one["metadata"]["resourceVersion"], one.get("data", {}))
        for one in found
    }


def test_pods_of_a_run_reach_mlflow_and_kubeflows_own_store(services: Cluster, kubeflow: str) -> None:
    done = script(services, "connect.sh", kubeflow)
    assert done.returncode == 0, done.stderr
    first = written(services, kubeflow)
    assert first["ConfigMap/tinyunet"][1] == {
        "MLFLOW_TRACKING_URI": "http://mlflow.tinyunet.svc.cluster.local:5000",
        "S3_ENDPOINT_URL": "http://minio-service.kubeflow.svc.cluster.local:9000",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    secret = base64.b64decode(first["Secret/tinyunet-s3"][1]["AWS_SECRET_ACCESS_KEY"]).decode()
    assert len(secret) > 20
    assert secret not in done.stdout + done.stderr

    env_from = [{"configMapRef": {"name": "tinyunet"}}, {"secretRef": {"name": "tinyunet-s3"}}]
    said = python_pod(services, kubeflow, "reach", REACH, envFrom=env_from)
    assert said.count("status='ok'") == 3, said
    assert "buckets: " in said

    again = script(services, "connect.sh", kubeflow)
    assert again.returncode == 0, again.stderr
    assert written(services, kubeflow) == first


def test_credentials_of_ones_own_are_used_with_a_store_of_ones_own(services: Cluster, kubeflow: str) -> None:
    keys = [f"--from-literal={name}=mine" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    services.kubectl("-n", kubeflow, "create", "secret", "generic", "tinyunet-s3", *keys)
    before = written(services, kubeflow)["Secret/tinyunet-s3"]
    done = script(services, "connect.sh", kubeflow, MINIO, "eu-central-1")
    assert done.returncode == 0, done.stderr
    assert written(services, kubeflow)["Secret/tinyunet-s3"] == before
    settings = written(services, kubeflow)["ConfigMap/tinyunet"][1]
    assert (settings["S3_ENDPOINT_URL"], settings["AWS_DEFAULT_REGION"]) == (MINIO, "eu-central-1")
    done = script(services, "connect.sh", kubeflow)
    assert done.returncode != 0
    assert "conflict" in done.stderr
    assert written(services, kubeflow)["Secret/tinyunet-s3"] == before, "nobody else's work is overwritten"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "no namespace; expected the namespace of the runs"),
        (["tinyunet"], "Kubeflow's pods cannot run in tinyunet"),
        (["nowhere"], "namespace nowhere does not exist"),
        (["default"], "no service seaweedfs or minio-service in namespace kubeflow"),
        (["default", MINIO], "secret default/mlpipeline-minio-artifact is missing; create tinyunet-s3"),
        (["default", "elsewhere"], "STORE is elsewhere; expected"),
    ],
)
def test_what_is_missing_is_one_line_and_nothing_is_written(
    services: Cluster, words: list[str], said: str
) -> None:
    before = written(services, "default")
    done = script(services, "connect.sh", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("connect: "), line
    assert said in line
    assert written(services, "default") == before
