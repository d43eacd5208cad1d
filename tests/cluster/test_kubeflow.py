"""`make connect` writes settings into Kubeflow's namespace, with which pods reach MLflow and the store."""

import base64
from collections.abc import Iterator

import pytest
from cluster import Cluster
from deployment import NAMESPACE, run_script
from images import named
from objects import list_objects
from tasks import python_pod

KINDS = "configmaps,secrets,roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io"
KUBEFLOWS_KEY = base64.b64encode(b"kubeflow").decode()
MINIO = "http://minio.tinyunet.svc.cluster.local:9000"
REACH = """
from tinyunet.devtools.reachability import credentials, store, tracking
print(*(check() for check in (tracking, credentials, store)), sep="\\n")
"""


@pytest.fixture(scope="module")
def installed(services: Cluster) -> Iterator[str]:
    """The namespace `kubeflow` as in Kubeflow Pipelines, with a store of its own, which has another key."""
    key = {"accesskey": "kubeflow", "secretkey": "key-of-kubeflows-own-store"}
    metadata, labels = {"namespace": "kubeflow"}, {"app": "minio"}
    selector, port = {"selector": labels, "ports": [{"port": 9000}]}, {"periodSeconds": 1}
    container = {
        "name": "minio",
        "image": named("minio"),
        "command": ["minio", "server", "--quiet", "--certs-dir", "/tmp/certs", "/tmp/data"],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "env": [
            {"name": "MINIO_ROOT_USER", "value": key["accesskey"]},
            {"name": "MINIO_ROOT_PASSWORD", "value": key["secretkey"]},
        ],
        "readinessProbe": {"tcpSocket": {"port": 9000}} | port,
    }
    services.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubeflow"}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata | {"name": "mlpipeline-minio-artifact"},
            "stringData": key,
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata | {"name": "minio-service"}}
        | {"spec": selector},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata | {"name": "minio", "labels": labels}}
        | {"spec": {"containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}]}},
    )
    services.kubectl("-n", "kubeflow", "wait", "--for=condition=Ready", "pod/minio", "--timeout=60s")
    yield "kubeflow"
    services.kubectl("delete", "namespace", "kubeflow")


@pytest.fixture
def kubeflow(services: Cluster, installed: str) -> Iterator[str]:
    """The same namespace; what a test and the script wrote there is deleted after the test."""
    before = written(services, installed)
    yield installed
    for name in written(services, installed).keys() - before.keys():
        services.kubectl("-n", installed, "delete", name)


def written(cluster: Cluster, namespace: str) -> dict[str, tuple[str, dict]]:
    """Return resourceVersion and data of the objects in a namespace, by kind and name."""
    return {
        f"{item['kind']}/{item['metadata']['name']}": (
            item["metadata"]["resourceVersion"],
            item.get("data", {}),
        )
        for item in list_objects(cluster, KINDS, namespace)
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([""], "no namespace; expected the namespace of the runs"),
        (["tinyunet"], "Kubeflow's pods cannot run in tinyunet"),
        (["nowhere"], "namespace nowhere does not exist"),
        (["default"], "no service seaweedfs or minio-service in namespace kubeflow"),
        (
            ["default", "http://s3.example.org"],
            "secret default/mlpipeline-minio-artifact is missing; create tinyunet-s3",
        ),
        (["default", "elsewhere"], "STORE is 'elsewhere'; expected"),
    ],
)
def test_a_missing_requirement_is_reported_in_one_line_and_nothing_is_written(
    services: Cluster, words: list[str], message: str
) -> None:
    """The fixture `kubeflow` makes a store in that namespace, so that no earlier test may use it."""
    before = written(services, "default")
    result = run_script(services, "connect.sh", *words)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("connect: "), line
    assert message in line
    assert written(services, "default") == before


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
    assert secret == "key-of-kubeflows-own-store"
    assert secret not in result.stdout + result.stderr

    env_from = [{"configMapRef": {"name": "tinyunet"}}, {"secretRef": {"name": "tinyunet-s3"}}]
    log = python_pod(services, kubeflow, "reach", REACH, envFrom=env_from)
    assert log.count("status='ok'") == 3, log
    assert "buckets: " in log

    second = run_script(services, "connect.sh", kubeflow)
    assert second.returncode == 0, second.stderr
    assert written(services, kubeflow) == first


def test_a_run_may_replace_servers_but_do_nothing_else_to_the_services(
    services: Cluster, kubeflow: str
) -> None:
    assert run_script(services, "connect.sh", kubeflow).returncode == 0

    def may(verb: str, resource: str) -> bool:
        account = f"system:serviceaccount:{kubeflow}:pipeline-runner"
        try:
            answer = services.kubectl("auth", "can-i", verb, resource, "-n", NAMESPACE, "--as", account)
        except RuntimeError:  # kubectl exits with 1 after "no"
            return False
        return answer.strip().endswith("yes")

    assert [verb for verb in ("get", "list", "patch") if not may(verb, "deployments.apps")] == []
    refused = [(verb, "deployments.apps") for verb in ("create", "delete", "update")]
    refused += [("get", "secrets"), ("list", "pods"), ("patch", "statefulsets.apps"), ("get", "configmaps")]
    assert [words for words in refused if may(*words)] == []


def test_the_key_is_that_of_the_store(services: Cluster, kubeflow: str) -> None:
    deployed = {s["metadata"]["name"]: s.get("data") for s in list_objects(services, "secrets", NAMESPACE)}
    for store, key in ((MINIO, deployed["tinyunet-s3"]["AWS_ACCESS_KEY_ID"]), ("", KUBEFLOWS_KEY)):
        result = run_script(services, "connect.sh", kubeflow, store)
        assert result.returncode == 0, result.stderr
        assert result.stdout.splitlines()[-1].endswith("; a pod there reached both")
        assert written(services, kubeflow)["Secret/tinyunet-s3"][1]["AWS_ACCESS_KEY_ID"] == key
    assert list_objects(services, "pods", kubeflow)[0]["metadata"]["name"] == "minio", "no pod remains"


def test_a_secret_of_the_user_is_not_changed_and_a_wrong_key_is_found(
    services: Cluster, kubeflow: str
) -> None:
    keys = [f"--from-literal={name}=own" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    services.kubectl("-n", kubeflow, "create", "secret", "generic", "tinyunet-s3", *keys)
    before = written(services, kubeflow)["Secret/tinyunet-s3"]
    result = run_script(services, "connect.sh", kubeflow, MINIO, "eu-central-1")
    assert result.returncode == 2
    assert (
        "refuses the key of tinyunet-s3 (InvalidAccessKeyId); the settings are written, but" in result.stderr
    )
    settings = written(services, kubeflow)["ConfigMap/tinyunet"][1]
    assert (settings["S3_ENDPOINT_URL"], settings["AWS_DEFAULT_REGION"]) == (MINIO, "eu-central-1")
    result = run_script(services, "connect.sh", kubeflow)
    assert result.returncode != 0
    assert "conflict" in result.stderr
    assert written(services, kubeflow)["Secret/tinyunet-s3"] == before, "the user's secret is not changed"
