"""`make connect` writes settings into Kubeflow's namespace, with which pods reach MLflow and the store."""

import base64
from collections.abc import Iterator

import pytest
from boot import Cluster
from conftest import NAMESPACE, list_objects, python_pod, run_script

KINDS = "configmaps,secrets,roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io"
MINIO = "http://minio.tinyunet.svc.cluster.local:9000"
REACH = """
from tinyunet.devtools.reachability import credentials, store, tracking
print(*(check() for check in (tracking, credentials, store)), sep="\\n")
"""


@pytest.fixture
def kubeflow(services: Cluster) -> Iterator[str]:
    """The namespace `kubeflow` as in Kubeflow Pipelines; its store is the MinIO of this deployment."""
    secrets = {s["metadata"]["name"]: s.get("data") for s in list_objects(services, "secrets", NAMESPACE)}
    keys = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
    metadata = {"namespace": "kubeflow"}
    services.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeflow"}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata | {"name": "mlpipeline-minio-artifact"},
            "data": {name: secrets["tinyunet-s3"][key] for name, key in keys.items()},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata | {"name": "minio-service"},
            "spec": {"type": "ExternalName", "externalName": "minio.tinyunet.svc.cluster.local"},
        },
    )
    yield "kubeflow"
    services.kubectl("delete", "namespace", "kubeflow")


def written(cluster: Cluster, namespace: str) -> dict[str, tuple[str, dict]]:
    """Return resourceVersion and data of the objects in a namespace, by kind and name."""
    return {
        f"{item['kind']}/{item['metadata']['name']}": (
            item["metadata"]["resourceVersion"],
            item.get("data", {}),
        )
        for item in list_objects(cluster, KINDS, namespace)
    }


def test_pods_of_a_run_reach_mlflow_and_kubeflows_own_store(services: Cluster, kubeflow: str) -> None:
    result = run_script(services, "connect.sh", kubeflow)
    assert result.returncode == 0, result.stderr
    first = written(services, kubeflow)
    assert first["ConfigMap/tinyunet"][1] == {
        "MLFLOW_TRACKING_URI": "http://mlflow.tinyunet.svc.cluster.local:5000",
        "S3_ENDPOINT_URL": "http://minio-service.kubeflow.svc.cluster.local:9000",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    secret = base64.b64decode(first["Secret/tinyunet-s3"][1]["AWS_SECRET_ACCESS_KEY"]).decode()
    assert len(secret) > 20
    assert secret not in result.stdout + result.stderr

    env_from = [{"configMapRef": {"name": "tinyunet"}}, {"secretRef": {"name": "tinyunet-s3"}}]
    log = python_pod(services, kubeflow, "reach", REACH, envFrom=env_from)
    assert log.count("status='ok'") == 3, log
    assert "buckets: " in log

    second = run_script(services, "connect.sh", kubeflow)
    assert second.returncode == 0, second.stderr
    assert written(services, kubeflow) == first


def test_an_existing_secret_is_used_with_another_store(services: Cluster, kubeflow: str) -> None:
    keys = [f"--from-literal={name}=own" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    services.kubectl("-n", kubeflow, "create", "secret", "generic", "tinyunet-s3", *keys)
    before = written(services, kubeflow)["Secret/tinyunet-s3"]
    result = run_script(services, "connect.sh", kubeflow, MINIO, "eu-central-1")
    assert result.returncode == 0, result.stderr
    assert written(services, kubeflow)["Secret/tinyunet-s3"] == before
    settings = written(services, kubeflow)["ConfigMap/tinyunet"][1]
    assert (settings["S3_ENDPOINT_URL"], settings["AWS_DEFAULT_REGION"]) == (MINIO, "eu-central-1")
    result = run_script(services, "connect.sh", kubeflow)
    assert result.returncode != 0
    assert "conflict" in result.stderr
    assert written(services, kubeflow)["Secret/tinyunet-s3"] == before, "the user's secret is not changed"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([""], "no namespace; expected the namespace of the runs"),
        (["tinyunet"], "Kubeflow's pods cannot run in tinyunet"),
        (["nowhere"], "namespace nowhere does not exist"),
        (["default"], "no service seaweedfs or minio-service in namespace kubeflow"),
        (["default", MINIO], "secret default/mlpipeline-minio-artifact is missing; create tinyunet-s3"),
        (["default", "elsewhere"], "STORE is 'elsewhere'; expected"),
    ],
)
def test_a_missing_requirement_is_reported_in_one_line_and_nothing_is_written(
    services: Cluster, words: list[str], message: str
) -> None:
    before = written(services, "default")
    result = run_script(services, "connect.sh", *words)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("connect: "), line
    assert message in line
    assert written(services, "default") == before
